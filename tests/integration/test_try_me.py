import time
def test_it(run_script, install_plugin, companions):
    """x"""
    install_plugin("demo", """
    class Provider:
        def in_context(self): return True
        def tags(self): return {"demo": "1"}
    """)
    f = run_script("""
    import runcontext
    with runcontext.start_run() as run:
        print(dict(run.tags))
    """)
    print(f.stdout, f.stderr, f.seconds)
    print(f.run, f.context.outcomes)
    print(companions(f.pid))
    f = run_script("""
    import runcontext
    with runcontext.start_run() as run:
        print(dict(run.tags))
    """)
    print(f.seconds, f.runs)
    assert 0
