#include "worker/serve/serve_command.h"

#include <signal.h>

#include <algorithm>
#include <atomic>
#include <memory>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/base/write_output.h"
#include "common/layout/generation_defaults.h"
#include "common/rpc/access_token.h"
#include "common/rpc/inference_service.h"
#include "common/rpc/server.h"
#include "worker/serve/serving_loop.h"
#include "worker/tools/loaded_model.h"

namespace retort::worker {
namespace {

constexpr int64_t kDefaultContext = 4096;
constexpr absl::Duration kGrace = absl::Seconds(5);

std::atomic<int> stop_signal{0};

void CatchStopSignals() {
  struct sigaction action = {};
  action.sa_handler = [](int signal) { stop_signal = signal; };
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

absl::StatusOr<rpc::AccessToken> TokenOf(const std::string& path) {
  if (FileExists(path)) return rpc::AccessToken::ReadFile(path);
  rpc::AccessToken token = rpc::AccessToken::Generate();
  RETORT_RETURN_IF_ERROR(token.WriteFile(path));
  return token;
}

ServingOptions ServingOptionsOf(const ServeOptions& options, int64_t context) {
  ServingOptions serving;
  const int64_t tokens = options.cache_tokens > 0
                             ? options.cache_tokens
                             : options.max_batch * std::min(context, kDefaultContext);
  serving.engine.max_batch = options.max_batch;
  serving.engine.kv_blocks =
      std::max(model::BlocksFor(tokens), model::Engine::MostBlocksOfOne(context));
  serving.waiting.requests = options.max_waiting;
  serving.max_wait = absl::Milliseconds(options.max_wait_ms);
  return serving;
}

}  // namespace

absl::StatusOr<int> ServeCommand(const ServeOptions& options, std::ostream& out) {
  RETORT_ASSIGN_OR_RETURN(const rpc::Endpoint endpoint, rpc::ParseEndpoint(options.listen));
  RETORT_RETURN_IF_ERROR(rpc::CheckListen(endpoint, options.tls));
  RETORT_ASSIGN_OR_RETURN(const LoadedModel model, LoadModelFolder(options.model));
  RETORT_ASSIGN_OR_RETURN(const layout::GenerationDefaults defaults,
                          layout::LoadGenerationDefaults(options.model.folder));
  RETORT_ASSIGN_OR_RETURN(const rpc::AccessToken token, TokenOf(options.token_file));
  RETORT_ASSIGN_OR_RETURN(
      const std::unique_ptr<ServingLoop> loop,
      ServingLoop::Make(model, defaults,
                        ServingOptionsOf(options, model.model.config().max_position_embeddings)));
  const std::unique_ptr<rpc::InferenceService> service = rpc::InferenceService::Make(
      token, [&loop](rpc::InferenceEvent event) { return loop->Push(std::move(event)); });
  CatchStopSignals();
  RETORT_ASSIGN_OR_RETURN(
      const std::unique_ptr<rpc::Server> server,
      rpc::Server::Start(
          {.listen = options.listen, .tls = options.tls, .services = {service.get()}}));
  RETORT_RETURN_IF_ERROR(
      WriteOutput(absl::StrCat("serving ", options.model.folder, " at ", server->address(),
                               ", access token in ", options.token_file, "\n"),
                  out));
  const absl::Status served = loop->Run(service.get(), [] { return stop_signal != 0; });
  server->Shutdown(kGrace);
  RETORT_RETURN_IF_ERROR(served);
  return stop_signal.load();
}

}  // namespace retort::worker
