#include "worker/reward/reward_set.h"
