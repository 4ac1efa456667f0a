// Python's "format" % values and "{}".format(values), as far as templates go.
#pragma once

#include "common/text/jinja/arguments.h"
#include "common/text/jinja/runtime.h"
#include "common/text/jinja/value.h"

namespace retort::text::jinja {

// %s %r %d %i %u %f %F %e %E %g %G %x %X %o %c %% with flags, width and precision, and %(key)s.
// `values` is one value, a tuple of them, or a dict. Throws for what Python refuses.
Value PercentFormat(Runtime& runtime, const Value& format, const Value& values);

// {}, {0} and {name}, {{ and }}. A format after ":" or "!", attributes and indices are refused.
Value BraceFormat(Runtime& runtime, const Value& format, const Arguments& arguments);

}  // namespace retort::text::jinja
