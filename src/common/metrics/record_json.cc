#include "common/metrics/record_json.h"
