/* A graphics driver's management library with one card, for tests on machines without a card.
 *
 * It answers the calls that atlas_core/hardware/telemetry.py makes, in the ABI of NVIDIA's nvml.h, so that the
 * real Python binding runs unchanged. FAKE_NVML_MODE in the environment says what goes wrong:
 *   (unset)   nothing         no-fan   the fan is not supported
 *   lost      each reading    no-card  the driver runs but has no card
 */
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, GPU_IS_LOST = 15 };

typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned int gpu, memory; } utilization_t;

static int mode_is(const char *mode)
{
    const char *now = getenv("FAKE_NVML_MODE");
    return now != NULL && strcmp(now, mode) == 0;
}

static int reading(void) { return mode_is("lost") ? GPU_IS_LOST : SUCCESS; }

int nvmlInitWithFlags(unsigned int flags) { (void)flags; return SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { (void)code; return "fake"; }

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **card)
{
    if (mode_is("no-card") || index > 1) return NOT_FOUND;
    *card = (void *)(size_t)(index + 1);
    return SUCCESS;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **card)
{
    if (strcmp(uuid, "GPU-second") != 0) return NOT_FOUND;
    *card = (void *)2;
    return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned int *count)
{
    *count = mode_is("no-card") ? 0 : 2;
    return SUCCESS;
}

int nvmlDeviceGetNumGpuCores(void *card, unsigned int *cores)
{
    *cores = (card == (void *)1) == mode_is("slow-first") ? 384 : 5888;
    return mode_is("no-cores") ? NOT_SUPPORTED : SUCCESS;
}

int nvmlDeviceGetMaxClockInfo(void *card, int clock, unsigned int *megahertz)
{
    (void)card; (void)clock;
    *megahertz = 2500;
    return SUCCESS;
}

int nvmlDeviceGetName(void *card, char *name, unsigned int length)
{
    strncpy(name, card == (void *)1 ? "NVIDIA GeForce RTX 4070" : "NVIDIA H100 PCIe", length);
    return reading();
}

int nvmlDeviceGetTemperature(void *card, int sensor, unsigned int *celsius)
{
    (void)card; (void)sensor;
    *celsius = 64;
    return reading();
}

int nvmlDeviceGetMemoryInfo(void *card, memory_t *memory)
{
    (void)card;
    memory->total = 12ULL << 30;
    memory->used = 5ULL << 30;
    memory->free = 7ULL << 30;
    return reading();
}

int nvmlDeviceGetUtilizationRates(void *card, utilization_t *rates)
{
    (void)card;
    rates->gpu = 97;
    rates->memory = 40;
    return reading();
}

int nvmlDeviceGetPowerUsage(void *card, unsigned int *milliwatts)
{
    (void)card;
    *milliwatts = 180500;
    return reading();
}

int nvmlDeviceGetTotalEnergyConsumption(void *card, unsigned long long *millijoules)
{
    (void)card;
    *millijoules = 7200500ULL;
    return reading();
}

int nvmlDeviceGetFanSpeed(void *card, unsigned int *percent)
{
    (void)card;
    *percent = 42;
    return mode_is("no-fan") ? NOT_SUPPORTED : reading();
}
