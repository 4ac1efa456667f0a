#include "common/text/stream_decoder.h"
