/*
 * A stand-in for libnvidia-ml.so.1, NVIDIA's management library, for machines without a GPU.
 *
 * It answers the calls of the NVML API that the gpu provider makes through the real bindings (pynvml), with
 * the signatures, constants and error texts of NVIDIA's nvml.h. Environment variables, read at each call, say
 * what it answers:
 *
 *   NVML_STUB_DEVICES  number of devices, 1 unless set
 *   NVML_STUB_NAMES    their models, separated by commas; the last one counts for all that follow
 *   NVML_STUB_FAULTS   what goes wrong, separated by commas: FUNCTION=FAULT, or FUNCTION@INDEX=FAULT for one
 *                      device; FAULT is an nvmlReturn_t as a number, `hang` or `crash`
 *   NVML_STUB_LOG      a file that gets the name of each function called, a line each
 *
 * Build: cc -shared -fPIC -o libnvidia-ml.so.1 nvml_stub.c
 */

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int nvmlReturn_t;
typedef struct nvmlDevice_st *nvmlDevice_t;
typedef struct {
    unsigned long long total, free, used;
} nvmlMemory_t;

enum {
    NVML_SUCCESS = 0,
    NVML_ERROR_UNINITIALIZED = 1,
    NVML_ERROR_INVALID_ARGUMENT = 2,
    NVML_ERROR_INSUFFICIENT_SIZE = 7
};

enum { NO_DEVICE = -1 };

static int initialisations;

/* ---- what the environment asks for ---- */

static const char *setting(const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    return value && *value ? value : otherwise;
}

static unsigned device_count(void)
{
    return (unsigned)strtoul(setting("NVML_STUB_DEVICES", "1"), NULL, 10);
}

/* Write the model of device `index`: item `index` of NVML_STUB_NAMES, or its last one. */
static void device_name(int index, char *name, size_t size)
{
    const char *item = setting("NVML_STUB_NAMES", "NVIDIA A100-SXM4-80GB");
    for (const char *comma; index > 0 && (comma = strchr(item, ',')); index--)
        item = comma + 1;
    snprintf(name, size, "%.*s", (int)strcspn(item, ","), item);
}

/* If `item` ("FUNCTION=FAULT" or "FUNCTION@INDEX=FAULT") speaks of this call, give its FAULT, else NULL. */
static const char *fault_of_item(const char *item, const char *function, int index)
{
    size_t length = strcspn(item, "@=");
    if (strlen(function) != length || strncmp(item, function, length) != 0)
        return NULL;
    if (item[length] == '@' && strtol(item + length + 1, NULL, 10) != index)
        return NULL;
    return strchr(item, '=') + 1;
}

static const char *fault_of_call(const char *function, int index)
{
    for (const char *item = setting("NVML_STUB_FAULTS", ""); *item; item += strspn(item, ",")) {
        const char *fault = fault_of_item(item, function, index);
        if (fault)
            return fault;
        item += strcspn(item, ",");
    }
    return NULL;
}

static nvmlReturn_t suffer(const char *fault)
{
    if (strncmp(fault, "crash", 5) == 0)
        raise(SIGSEGV);
    while (strncmp(fault, "hang", 4) == 0)
        pause();
    return atoi(fault);
}

static void write_log(const char *function)
{
    const char *path = getenv("NVML_STUB_LOG");
    FILE *log = path ? fopen(path, "a") : NULL;
    if (!log)
        return;
    fprintf(log, "%s\n", function);
    fclose(log);
}

/* Begin every call: log it, and let NVML_STUB_FAULTS have its way. `index` is the device's, or NO_DEVICE. */
static nvmlReturn_t enter(const char *function, int index)
{
    write_log(function);
    const char *fault = fault_of_call(function, index);
    return fault ? suffer(fault) : NVML_SUCCESS;
}

/* Begin a call that needs nvmlInit before it. */
static nvmlReturn_t enter_initialised(const char *function, int index)
{
    nvmlReturn_t status = enter(function, index);
    return status == NVML_SUCCESS && initialisations == 0 ? NVML_ERROR_UNINITIALIZED : status;
}

static nvmlReturn_t give_text(const char *text, char *buffer, unsigned length)
{
    unsigned needed = (unsigned)snprintf(buffer, length, "%s", text) + 1;
    return needed <= length ? NVML_SUCCESS : NVML_ERROR_INSUFFICIENT_SIZE;
}

/* A handle is the device's index plus one, so that none is NULL. */
static int index_of(nvmlDevice_t device)
{
    return (int)(intptr_t)device - 1;
}

/* ---- the NVML API ---- */

nvmlReturn_t nvmlInitWithFlags(unsigned flags)
{
    (void)flags;
    nvmlReturn_t status = enter("nvmlInitWithFlags", NO_DEVICE);
    if (status == NVML_SUCCESS)
        initialisations++;
    return status;
}

nvmlReturn_t nvmlShutdown(void)
{
    nvmlReturn_t status = enter_initialised("nvmlShutdown", NO_DEVICE);
    if (status == NVML_SUCCESS)
        initialisations--;
    return status;
}

const char *nvmlErrorString(nvmlReturn_t result)
{
    static const char *const texts[] = {
        [0] = "Success",
        [1] = "Uninitialized",
        [2] = "Invalid Argument",
        [3] = "Not Supported",
        [4] = "Insufficient Permissions",
        [7] = "Insufficient Size",
        [9] = "Driver Not Loaded",
        [12] = "NVML Shared Library Not Found",
        [13] = "Function Not Found",
        [15] = "GPU is lost",
        [18] = "Driver/library version mismatch",
    };
    enter("nvmlErrorString", NO_DEVICE);
    int known = result >= 0 && (size_t)result < sizeof texts / sizeof *texts && texts[result];
    return known ? texts[result] : "Unknown Error";
}

nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned length)
{
    nvmlReturn_t status = enter_initialised("nvmlSystemGetDriverVersion", NO_DEVICE);
    return status == NVML_SUCCESS ? give_text("550.54.15", version, length) : status;
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version)
{
    nvmlReturn_t status = enter("nvmlSystemGetCudaDriverVersion_v2", NO_DEVICE);
    *version = 12040;
    return status;
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *count)
{
    nvmlReturn_t status = enter_initialised("nvmlDeviceGetCount_v2", NO_DEVICE);
    *count = device_count();
    return status;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t *device)
{
    nvmlReturn_t status = enter_initialised("nvmlDeviceGetHandleByIndex_v2", (int)index);
    if (status == NVML_SUCCESS && index >= device_count())
        return NVML_ERROR_INVALID_ARGUMENT;
    *device = (nvmlDevice_t)((intptr_t)index + 1);
    return status;
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned length)
{
    char text[96];
    nvmlReturn_t status = enter_initialised("nvmlDeviceGetName", index_of(device));
    device_name(index_of(device), text, sizeof text);
    return status == NVML_SUCCESS ? give_text(text, name, length) : status;
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned length)
{
    char text[96];
    nvmlReturn_t status = enter_initialised("nvmlDeviceGetUUID", index_of(device));
    unsigned first_group = 0xabc00000u + (unsigned)index_of(device);
    snprintf(text, sizeof text, "GPU-%08x-d72c-4106-c12f-20bd9faed9f6", first_group);
    return status == NVML_SUCCESS ? give_text(text, uuid, length) : status;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory)
{
    nvmlReturn_t status = enter_initialised("nvmlDeviceGetMemoryInfo", index_of(device));
    memory->total = 80ULL << 30;
    memory->free = 79ULL << 30;
    memory->used = 1ULL << 30;
    return status;
}
