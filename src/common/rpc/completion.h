// Operations of gRPC that complete on a queue, and the thread that takes them from it.
//
// Why queues and not gRPC's callback API: in gRPC 1.51 a socket that is full for a moment makes an
// executor thread poll for up to 10 s, and callbacks that were queued behind it on that thread wait
// as long (seen as 10 s pauses in about 1 % of transfers of some MiB). Completion queues do not
// pass through the executor.
#pragma once

#include "grpcpp/completion_queue.h"

namespace retort::rpc {

// The tag of an operation. Must stay where it is until Done was called.
class Completion {
 public:
  virtual ~Completion() = default;
  virtual void Done(bool ok) = 0;
};

// Calls a member function of its owner.
template <typename Owner>
class CompletionOf : public Completion {
 public:
  CompletionOf(Owner* owner, void (Owner::*method)(bool)) : owner_(owner), method_(method) {}
  void Done(bool ok) override { (owner_->*method_)(ok); }

 private:
  Owner* const owner_;
  void (Owner::*const method_)(bool);
};

// Calls Done of every completion until the queue was shut down and is empty.
inline void RunCompletions(grpc::CompletionQueue* queue) {
  void* tag = nullptr;
  bool ok = false;
  while (queue->Next(&tag, &ok)) static_cast<Completion*>(tag)->Done(ok);
}

}  // namespace retort::rpc
