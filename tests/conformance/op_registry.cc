#include "conformance/op_registry.h"

namespace retort::conformance {

OpRegistry AllOps() {
  OpRegistry registry;
  RegisterChatOps(&registry);
  RegisterKlOps(&registry);
  RegisterPpoOps(&registry);
  RegisterPpoStepOps(&registry);
  RegisterOptimizerOps(&registry);
  RegisterModelOps(&registry);
  RegisterModelTrainOps(&registry);
  RegisterSampleOps(&registry);
  RegisterTokenizerOps(&registry);
  return registry;
}

}  // namespace retort::conformance
