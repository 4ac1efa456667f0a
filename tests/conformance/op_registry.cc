#include "conformance/op_registry.h"

namespace retort::conformance {

OpRegistry AllOps() {
  OpRegistry registry;
  RegisterKlOps(&registry);
  RegisterPpoOps(&registry);
  RegisterPpoStepOps(&registry);
  RegisterOptimizerOps(&registry);
  RegisterModelOps(&registry);
  RegisterSampleOps(&registry);
  return registry;
}

}  // namespace retort::conformance
