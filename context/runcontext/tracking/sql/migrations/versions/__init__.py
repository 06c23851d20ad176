"""The revisions, each named by the version of the schema that it makes; what is in one never changes again."""
