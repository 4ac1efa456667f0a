// The global functions of a template.
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/text/jinja/builtins.h"
#include "common/text/jinja/compare.h"
#include "common/text/jinja/objects.h"
#include "common/text/jinja/print.h"

namespace retort::text::jinja {
namespace {

constexpr int64_t kMaxRange = 100'000;  // As the sandbox of Jinja has it.

Value Range(Runtime& runtime, const Value&, const Arguments& arguments) {
  const Bound bound("range", arguments, {"start", "stop", "step"}, 1);
  const bool only_stop = bound.Find(1) == nullptr;
  const int64_t start = only_stop ? 0 : bound.Int(0, 0);
  const int64_t stop = only_stop ? bound.Int(0, 0) : bound.Int(1, 0);
  const int64_t step = bound.Int(2, 1);
  if (step == 0) Fail("range: the step is 0");
  std::vector<Value> items;
  // In 128 bits, so that neither the next item nor the step can overflow.
  for (__int128 i = start; step > 0 ? i < stop : i > stop; i += step) {
    if (static_cast<int64_t>(items.size()) == kMaxRange) {
      Fail(absl::StrCat("range of more than ", kMaxRange, " items"));
    }
    items.push_back(Value::Int(static_cast<int64_t>(i)));
  }
  const Value range = runtime.Sequence(Kind::kRange, std::move(items));
  auto* const object = range.As<SequenceObject>();
  object->start = start;
  object->stop = stop;
  object->step = step;
  return range;
}

template <Kind kind>
constexpr auto kSet = kind == Kind::kNamespace ? SetNamespaceKey : SetKey;

// dict(mapping or pairs, **more), and the same for namespace.
template <Kind kind>
Value MakeDict(Runtime& runtime, const Value&, const Arguments& arguments) {
  const Value dict = runtime.Dict({});
  auto* const object = dict.As<DictObject>();
  if (arguments.positional.size() > 1) Fail("dict and namespace take one positional argument");
  for (const Value& source : arguments.positional) {
    if (source.Is(Kind::kDict)) {
      runtime.Charge(static_cast<int64_t>(2 * source.As<DictObject>()->entries.size()));
      for (const auto& [key, value] : source.As<DictObject>()->entries) {
        kSet<kind>(runtime, object, key, value);
      }
      continue;
    }
    for (const Value& entry : Iterate(runtime, source)) {
      const std::vector<Value> pair = Iterate(runtime, entry);
      if (pair.size() != 2) Fail("dict: an item of the list is not a pair");
      kSet<kind>(runtime, object, pair[0], pair[1]);
    }
  }
  for (const auto& [name, value] : arguments.keyword) {
    kSet<kind>(runtime, object, runtime.String(name), value);
  }
  return Value::Of(kind, object);
}

Value MakeCycler(Runtime& runtime, const Value&, const Arguments& arguments) {
  if (arguments.positional.empty() || !arguments.keyword.empty()) {
    Fail("cycler takes one or more values");
  }
  auto* const cycler = runtime.New<CyclerObject>();
  cycler->items = arguments.positional;
  return Value::Of(Kind::kCycler, cycler);
}

Value MakeJoiner(Runtime& runtime, const Value&, const Arguments& arguments) {
  const Bound bound("joiner", arguments, {"sep"});
  auto* const joiner = runtime.New<JoinerObject>();
  joiner->separator = bound.Find(0) == nullptr ? runtime.String(", ") : bound.At(0);
  return Value::Of(Kind::kJoiner, joiner);
}

Value RaiseException(Runtime& runtime, const Value&, const Arguments& arguments) {
  const Bound bound("raise_exception", arguments, {"message"}, 1);
  Fail(absl::StrCat("the template refuses its input: ", ToText(runtime, bound.At(0))));
}

// Python's datetime.now() knows no zone: %Z and %z are empty.
std::string WithoutZone(absl::string_view format) {
  std::string out;
  for (size_t i = 0; i < format.size(); ++i) {
    const absl::string_view pair = format.substr(i, 2);
    if (pair == "%Z" || pair == "%z") {
      ++i;
      continue;
    }
    out += format[i];
    if (pair.size() == 2 && pair[0] == '%') out += format[++i];
  }
  return out;
}

Value StrftimeNow(Runtime& runtime, const Value&, const Arguments& arguments) {
  const Bound bound("strftime_now", arguments, {"format"}, 1);
  const absl::string_view format = bound.Text(0, "");
  if (!runtime.now.has_value()) {
    Fail("strftime_now: the template asks for the date; give one");
  }
  constexpr size_t kMaxFormat = 1000;
  if (format.size() > kMaxFormat) Fail("strftime_now: the format is longer than 1000 bytes");
  const absl::TimeZone utc = absl::UTCTimeZone();
  return runtime.String(
      absl::FormatTime(WithoutZone(format), absl::FromCivil(*runtime.now, utc), utc));
}

}  // namespace

absl::Span<const NamedBuiltin> Functions() {
  static constexpr NamedBuiltin kFunctions[] = {
      {"range", Range},
      {"dict", MakeDict<Kind::kDict>},
      {"namespace", MakeDict<Kind::kNamespace>},
      {"cycler", MakeCycler},
      {"joiner", MakeJoiner},
      {"raise_exception", RaiseException},
      {"strftime_now", StrftimeNow},
  };
  return kFunctions;
}

}  // namespace retort::text::jinja
