#include "common/metrics/jsonl_writer.h"
