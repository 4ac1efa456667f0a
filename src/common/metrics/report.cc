#include "common/metrics/report.h"
