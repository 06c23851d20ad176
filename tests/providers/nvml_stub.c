/*
 * A stand-in for libnvidia-ml.so.1, NVIDIA's management library, for machines without a GPU.
 *
 * It answers the calls of the NVML API that the gpu provider makes through the real bindings (pynvml), with
 * the signatures, constants and error texts of NVIDIA's nvml.h. Environment variables, read at each call, say
 * what it answers:
 *
 *   NVML_STUB_DEVICES  number of devices, 1 unless set
 *   NVML_STUB_NAMES    their models, separated by commas; the last one counts for all that follow
 *   NVML_STUB_MIG      devices in MIG mode: DEVICE=PROFILE+PROFILE..., separated by commas; between the
 *                      instances there are indices without one, as on a real device
 *   NVML_STUB_PROCESSES   who computes where: DEVICE=PID, or DEVICE/INSTANCE=PID, separated by commas
 *   NVML_STUB_ACCOUNTING  unset while accounting is off; else DEVICE/PID=BYTES, separated by commas
 *   NVML_STUB_LINKS    NVLinks: DEVICE/DEVICE=NUMBER, or DEVICE/s=NUMBER to an NVSwitch, separated by commas
 *   NVML_STUB_LEVEL    the nvmlGpuTopologyLevel_t of each two devices, 50 (across sockets) unless set
 *   NVML_STUB_NUMA     NUMA nodes, separated by commas; the last one counts for all that follow
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
typedef struct {
    unsigned pid;
    unsigned long long usedGpuMemory;
    unsigned gpuInstanceId, computeInstanceId;
} nvmlProcessInfo_t;
typedef struct {
    char busIdLegacy[16];
    unsigned domain, bus, device, pciDeviceId, pciSubSystemId;
    char busId[32];
} nvmlPciInfo_t;
typedef struct {
    unsigned gpuUtilization, memoryUtilization;
    unsigned long long maxMemoryUsage, time, startTime;
    unsigned isRunning, reserved[5];
} nvmlAccountingStats_t;

enum {
    NVML_SUCCESS = 0,
    NVML_ERROR_UNINITIALIZED = 1,
    NVML_ERROR_INVALID_ARGUMENT = 2,
    NVML_ERROR_NOT_FOUND = 6,
    NVML_ERROR_INSUFFICIENT_SIZE = 7
};

enum { NVML_CLOCK_SM = 1, NVML_CLOCK_MEM = 2 };
enum { NVML_NVLINK_DEVICE_TYPE_GPU = 0, NVML_NVLINK_DEVICE_TYPE_SWITCH = 2 };

enum { NO_DEVICE = -1, MOST_INSTANCES = 14, MOST_LINKS = 18, SWITCH = 1000 };

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

/* Write item `index` of a list separated by commas, or its last one. */
static void item_of(const char *list, int index, char *item, size_t size)
{
    for (const char *comma; index > 0 && (comma = strchr(list, ',')); index--)
        list = comma + 1;
    snprintf(item, size, "%.*s", (int)strcspn(list, ","), list);
}

/* Give what stands behind `key` and "=" in the setting `name` from `*at` on, and move `*at` behind it, else NULL. */
static const char *next_value(const char *name, const char *key, const char **at)
{
    for (const char *item = *at ? *at : setting(name, ""); *item; item += strspn(item, ",")) {
        const char *value = item + strlen(key) + 1;
        int found = strncmp(item, key, strlen(key)) == 0 && value[-1] == '=';
        item += strcspn(item, ",");
        *at = item + strspn(item, ",");
        if (found)
            return value;
    }
    return NULL;
}

static const char *value_of(const char *name, const char *key)
{
    const char *at = NULL;
    return next_value(name, key, &at);
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

/* A handle is the device's index plus one, so that none is NULL; above that, a MIG instance's index plus one. */
static nvmlDevice_t handle_of(int index, int instance)
{
    return (nvmlDevice_t)(((intptr_t)instance + 1) << 16 | ((intptr_t)index + 1));
}

static int index_of(nvmlDevice_t device)
{
    return (int)((intptr_t)device & 0xffff) - 1;
}

/* The index of the MIG instance that a handle means, -1 for a whole device. */
static int instance_of(nvmlDevice_t device)
{
    return (int)((intptr_t)device >> 16) - 1;
}

/* Write the profile of a MIG instance; 0 if there is none. Every second index is free. */
static int profile_of(int index, int instance, char *profile, size_t size)
{
    char key[16];
    snprintf(key, sizeof key, "%d", index);
    const char *profiles = value_of("NVML_STUB_MIG", key);
    if (!profiles || instance % 2)
        return 0;
    for (; instance > 0; instance -= 2) {
        profiles += strcspn(profiles, "+,");
        if (*profiles++ != '+')
            return 0;
    }
    return snprintf(profile, size, "%.*s", (int)strcspn(profiles, "+,"), profiles) > 0;
}

static unsigned first_group(int index)
{
    return 0xabc00000u + (unsigned)index;
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
        [6] = "Not Found",
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
    *device = handle_of((int)index, -1);
    return status;
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned length)
{
    char model[96], profile[32], text[160];
    nvmlReturn_t status = enter_initialised("nvmlDeviceGetName", index_of(device));
    item_of(setting("NVML_STUB_NAMES", "NVIDIA A100-SXM4-80GB"), index_of(device), model, sizeof model);
    if (instance_of(device) >= 0 && profile_of(index_of(device), instance_of(device), profile, sizeof profile))
        snprintf(text, sizeof text, "%s MIG %s", model, profile);
    else
        snprintf(text, sizeof text, "%s", model);
    return status == NVML_SUCCESS ? give_text(text, name, length) : status;
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned length)
{
    char text[96];
    nvmlReturn_t status = enter_initialised("nvmlDeviceGetUUID", index_of(device));
    if (instance_of(device) >= 0)
        snprintf(text, sizeof text, "MIG-%08x-%04x-5a2b-8c7d-0123456789ab", first_group(index_of(device)),
                 (unsigned)instance_of(device));
    else
        snprintf(text, sizeof text, "GPU-%08x-d72c-4106-c12f-20bd9faed9f6", first_group(index_of(device)));
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

nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t device, int *major, int *minor)
{
    *major = 8;
    *minor = 0;
    return enter_initialised("nvmlDeviceGetCudaComputeCapability", index_of(device));
}

nvmlReturn_t nvmlDeviceGetEccMode(nvmlDevice_t device, unsigned *current, unsigned *pending)
{
    *current = 1;
    *pending = 0;
    return enter_initialised("nvmlDeviceGetEccMode", index_of(device));
}

nvmlReturn_t nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t device, unsigned *milliwatts)
{
    *milliwatts = 300000;
    return enter_initialised("nvmlDeviceGetEnforcedPowerLimit", index_of(device));
}

nvmlReturn_t nvmlDeviceGetMaxClockInfo(nvmlDevice_t device, int type, unsigned *megahertz)
{
    *megahertz = type == NVML_CLOCK_SM ? 1410 : type == NVML_CLOCK_MEM ? 1593 : 0;
    return enter_initialised("nvmlDeviceGetMaxClockInfo", index_of(device));
}

nvmlReturn_t nvmlDeviceGetVbiosVersion(nvmlDevice_t device, char *version, unsigned length)
{
    nvmlReturn_t status = enter_initialised("nvmlDeviceGetVbiosVersion", index_of(device));
    return status == NVML_SUCCESS ? give_text("92.00.9E.00.01", version, length) : status;
}

nvmlReturn_t nvmlDeviceGetPersistenceMode(nvmlDevice_t device, unsigned *mode)
{
    *mode = 1;
    return enter_initialised("nvmlDeviceGetPersistenceMode", index_of(device));
}

/* ---- MIG ---- */

nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned *current, unsigned *pending)
{
    char key[16];
    snprintf(key, sizeof key, "%d", index_of(device));
    *current = *pending = value_of("NVML_STUB_MIG", key) != NULL;
    return enter_initialised("nvmlDeviceGetMigMode", index_of(device));
}

nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t device, unsigned *count)
{
    *count = MOST_INSTANCES;
    return enter_initialised("nvmlDeviceGetMaxMigDeviceCount", index_of(device));
}

nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t device, unsigned index, nvmlDevice_t *instance)
{
    char profile[32];
    nvmlReturn_t status = enter_initialised("nvmlDeviceGetMigDeviceHandleByIndex", index_of(device));
    if (status == NVML_SUCCESS && !profile_of(index_of(device), (int)index, profile, sizeof profile))
        return NVML_ERROR_NOT_FOUND;
    *instance = handle_of(index_of(device), (int)index);
    return status;
}

nvmlReturn_t nvmlDeviceGetGpuInstanceId(nvmlDevice_t device, unsigned *id)
{
    *id = (unsigned)instance_of(device) + 7;
    return enter_initialised("nvmlDeviceGetGpuInstanceId", index_of(device));
}

nvmlReturn_t nvmlDeviceGetComputeInstanceId(nvmlDevice_t device, unsigned *id)
{
    *id = 0;
    return enter_initialised("nvmlDeviceGetComputeInstanceId", index_of(device));
}

/* ---- processes ---- */

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device, unsigned *count, nvmlProcessInfo_t *infos)
{
    char key[32];
    unsigned given = 0, room = *count;
    nvmlReturn_t status = enter_initialised("nvmlDeviceGetComputeRunningProcesses_v3", index_of(device));
    if (status != NVML_SUCCESS)
        return status;
    if (instance_of(device) >= 0)
        snprintf(key, sizeof key, "%d/%d", index_of(device), instance_of(device));
    else
        snprintf(key, sizeof key, "%d", index_of(device));
    const char *at = NULL;
    for (const char *pid; (pid = next_value("NVML_STUB_PROCESSES", key, &at)); given++)
        if (given < room)
            infos[given] = (nvmlProcessInfo_t){.pid = (unsigned)strtoul(pid, NULL, 10), .usedGpuMemory = 1 << 20};
    *count = given;
    return given <= room ? NVML_SUCCESS : NVML_ERROR_INSUFFICIENT_SIZE;
}

nvmlReturn_t nvmlDeviceGetAccountingMode(nvmlDevice_t device, unsigned *mode)
{
    *mode = getenv("NVML_STUB_ACCOUNTING") != NULL;
    return enter_initialised("nvmlDeviceGetAccountingMode", index_of(device));
}

nvmlReturn_t nvmlDeviceGetAccountingStats(nvmlDevice_t device, unsigned pid, nvmlAccountingStats_t *stats)
{
    char key[32];
    nvmlReturn_t status = enter_initialised("nvmlDeviceGetAccountingStats", index_of(device));
    snprintf(key, sizeof key, "%d/%u", index_of(device), pid);
    const char *bytes = value_of("NVML_STUB_ACCOUNTING", key);
    if (status == NVML_SUCCESS && !bytes)
        return NVML_ERROR_NOT_FOUND;
    *stats = (nvmlAccountingStats_t){.isRunning = 1};
    stats->maxMemoryUsage = bytes ? strtoull(bytes, NULL, 10) : 0;
    return status;
}

/* ---- connections ---- */

/* Give the far end of a link of a device: a device's index, SWITCH, or NO_DEVICE if the link is not connected. */
static int far_end(int index, unsigned link)
{
    char key[32];
    for (int other = -1; other < (int)device_count(); other++) {
        const char *number = NULL;
        if (other < 0) {
            snprintf(key, sizeof key, "%d/s", index);
            number = value_of("NVML_STUB_LINKS", key);
        } else {
            snprintf(key, sizeof key, "%d/%d", index < other ? index : other, index < other ? other : index);
            number = value_of("NVML_STUB_LINKS", key);
        }
        unsigned links = number ? (unsigned)strtoul(number, NULL, 10) : 0;
        if (link < links)
            return other < 0 ? SWITCH : other;
        link -= links;
    }
    return NO_DEVICE;
}

static void give_address(int index, nvmlPciInfo_t *pci)
{
    memset(pci, 0, sizeof *pci);
    pci->bus = (unsigned)index + 7;
    snprintf(pci->busId, sizeof pci->busId, "00000000:%02X:00.0", pci->bus & 0xff);
}

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t *pci)
{
    give_address(index_of(device), pci);
    return enter_initialised("nvmlDeviceGetPciInfo_v3", index_of(device));
}

nvmlReturn_t nvmlDeviceGetNvLinkState(nvmlDevice_t device, unsigned link, unsigned *active)
{
    nvmlReturn_t status = enter_initialised("nvmlDeviceGetNvLinkState", index_of(device));
    if (status == NVML_SUCCESS && link >= MOST_LINKS)
        return NVML_ERROR_INVALID_ARGUMENT;
    *active = far_end(index_of(device), link) != NO_DEVICE;
    return status;
}

nvmlReturn_t nvmlDeviceGetNvLinkRemoteDeviceType(nvmlDevice_t device, unsigned link, int *type)
{
    int to_switch = far_end(index_of(device), link) == SWITCH;
    *type = to_switch ? NVML_NVLINK_DEVICE_TYPE_SWITCH : NVML_NVLINK_DEVICE_TYPE_GPU;
    return enter_initialised("nvmlDeviceGetNvLinkRemoteDeviceType", index_of(device));
}

nvmlReturn_t nvmlDeviceGetNvLinkRemotePciInfo_v2(nvmlDevice_t device, unsigned link, nvmlPciInfo_t *pci)
{
    give_address(far_end(index_of(device), link), pci);
    return enter_initialised("nvmlDeviceGetNvLinkRemotePciInfo_v2", index_of(device));
}

nvmlReturn_t nvmlDeviceGetTopologyCommonAncestor(nvmlDevice_t one, nvmlDevice_t other, int *level)
{
    (void)other;
    *level = atoi(setting("NVML_STUB_LEVEL", "50"));
    return enter_initialised("nvmlDeviceGetTopologyCommonAncestor", index_of(one));
}

nvmlReturn_t nvmlDeviceGetMemoryAffinity(nvmlDevice_t device, unsigned words, unsigned long *nodes, unsigned scope)
{
    char node[16];
    (void)scope;
    memset(nodes, 0, words * sizeof *nodes);
    item_of(setting("NVML_STUB_NUMA", "0"), index_of(device), node, sizeof node);
    if (atoi(node) >= 0)
        nodes[atoi(node) / 64] = 1UL << atoi(node) % 64;
    return enter_initialised("nvmlDeviceGetMemoryAffinity", index_of(device));
}
