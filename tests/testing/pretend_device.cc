#include "testing/pretend_device.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/Allocator.h>
#include <c10/core/DeviceType.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include "testing/pretend_memory.h"
#include "testing/test_device.h"

namespace retort::pretend {
namespace {

constexpr c10::DeviceType kType = c10::DeviceType::PrivateUse1;

// Never destroyed: tensors of static storage may outlive any order of destruction.
Memory& TheMemory() {
  static Memory* const memory = new Memory;
  return *memory;
}

void FreeData(void* data) { TheMemory().Free(data); }

class DeviceAllocator : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* const data = TheMemory().Allocate(bytes);
    TORCH_CHECK(data != nullptr || bytes == 0, "pretended device: not enough memory for ", bytes,
                " bytes");
    return {data, data, &FreeData, Device()};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &FreeData; }
  void copy_data(void* to, const void* from, size_t count) const override {
    std::memcpy(HostAddress(to), HostAddress(from), count);
  }
};

// One device, one stream, on which all is done when a call returns.
struct Guard final : c10::impl::NoOpDeviceGuardImpl<kType> {
  Guard() = default;
  c10::Device exchangeDevice(c10::Device) const override { return Device(); }
  c10::Device getDevice() const override { return Device(); }
  c10::Stream getStream(c10::Device) const noexcept override { return TheStream(); }
  c10::Stream getDefaultStream(c10::Device) const override { return TheStream(); }
  c10::Stream getNewStream(c10::Device, int) const override { return TheStream(); }
  c10::Stream exchangeStream(c10::Stream) const noexcept override { return TheStream(); }
  void record(void**, const c10::Stream&, const c10::DeviceIndex,
              const c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override {}
  void synchronizeEvent(void*) const override {}
  void synchronizeDevice(const c10::DeviceIndex) const override {}

 private:
  static c10::Stream TheStream() { return c10::Stream(c10::Stream::DEFAULT, Device()); }
};

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  void setCurrentDevice(c10::DeviceIndex) const override {}
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex) const override { return 0; }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex) const override { return 0; }
  // CUDA answers with the device that the memory lies on, which for a peer's is not the one that a
  // tensor over it is to be of.
  c10::Device getDeviceFromPtr(void*) const override {
    TORCH_CHECK(false, "name the device of a tensor over foreign memory (target_device)");
  }
  // What at::manual_seed sets; the CPU's operations draw from the CPU's own.
  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override {
    static const at::Generator generator = at::detail::createCPUGenerator();
    return generator;
  }
};

DeviceAllocator allocator;
REGISTER_ALLOCATOR(kType, &allocator);
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

// With its own name, without which autograd does not take it for an accelerator.
[[maybe_unused]] const bool hooked = [] {
  c10::register_privateuse1_backend("privateuseone");
  at::RegisterPrivateUse1HooksInterface(new Hooks);
  return true;
}();

// The CPU's view of a tensor of either device.
at::Tensor HostView(const at::Tensor& t) {
  if (t.is_cpu()) return t;
  return at::from_blob(HostAddress(t.const_data_ptr()), t.sizes(), t.strides(),
                       at::TensorOptions().dtype(t.dtype()));
}

at::Tensor Empty(c10::IntArrayRef size, std::optional<at::ScalarType> type,
                 std::optional<c10::Layout> /*layout*/, std::optional<c10::Device> /*device*/,
                 std::optional<bool> pinned, std::optional<c10::MemoryFormat> format) {
  TORCH_CHECK(!pinned.value_or(false), "only memory of the CPU is pinned");
  return at::detail::empty_generic(size, &allocator,
                                   c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                   c10::dtype_or_default(type), format);
}

at::Tensor EmptyStrided(c10::IntArrayRef size, c10::IntArrayRef stride,
                        std::optional<at::ScalarType> type, std::optional<c10::Layout> /*layout*/,
                        std::optional<c10::Device> /*device*/, std::optional<bool> /*pinned*/) {
  return at::detail::empty_strided_generic(size, stride, &allocator,
                                           c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                           c10::dtype_or_default(type));
}

at::Tensor CopyFrom(const at::Tensor& from, const at::Tensor& to, bool /*non_blocking*/) {
  if (to.numel() > 0) HostView(to).copy_(HostView(from));
  return to;
}

const at::Tensor& Resize(const at::Tensor& self, c10::IntArrayRef size,
                         std::optional<c10::MemoryFormat> /*format*/) {
  const size_t bytes = self.dtype().itemsize() *
                       (c10::multiply_integers(size) + static_cast<size_t>(self.storage_offset()));
  const c10::Storage& storage = self.storage();
  if (bytes > storage.nbytes()) {
    TORCH_CHECK(storage.resizable(), "this memory cannot grow");
    c10::DataPtr data = allocator.allocate(bytes);
    allocator.copy_data(data.get(), storage.data(), storage.nbytes());
    storage.set_data_ptr(std::move(data));
    storage.set_nbytes(bytes);
  }
  self.unsafeGetTensorImpl()->set_sizes_contiguous(size);
  return self;
}

at::Tensor CopyFromAndResize(const at::Tensor& from, const at::Tensor& to) {
  if (to.sizes() != from.sizes()) Resize(to, from.sizes(), std::nullopt);
  return CopyFrom(from, to, false);
}

at::Scalar LocalScalarDense(const at::Tensor& self) { return HostView(self).item(); }

at::Tensor& SetStorage(at::Tensor& self, c10::Storage storage, int64_t offset,
                       c10::IntArrayRef size, c10::IntArrayRef stride) {
  return at::native::set_storage_cpu_(self, std::move(storage), offset, size, stride);
}

at::Tensor& SetWholeStorage(at::Tensor& self, c10::Storage storage) {
  const int64_t elements = static_cast<int64_t>(storage.nbytes() / self.dtype().itemsize());
  return SetStorage(self, std::move(storage), 0, elements, {});
}

// Products of bf16 in fp32, which a GPU has and the CPU lacks.
at::Tensor WideProduct(const at::Tensor& a, const at::Tensor& b, at::ScalarType type) {
  TORCH_CHECK(type == at::kFloat && a.scalar_type() == b.scalar_type(), "products to ", type);
  TORCH_CHECK(a.device() == Device() && b.device() == Device(), "products of two devices");
  return HostView(a).to(type).matmul(HostView(b).to(type)).to(Device());
}

// A tensor without dimensions may stay on the CPU, as CUDA allows; lists of tensors may not.
void CheckDevice(const c10::OperatorHandle& op, const c10::IValue& argument) {
  const auto check = [&op](const at::Tensor& t, bool scalar_allowed) {
    if (!t.defined() || t.device() == Device() || (scalar_allowed && t.dim() == 0)) return;
    TORCH_CHECK(false, op.schema().name(), ": expected all tensors on ", Device(), ", one is on ",
                t.device());
  };
  if (argument.isTensor()) check(argument.toTensor(), /*scalar_allowed=*/true);
  if (argument.isTensorList()) {
    for (const at::Tensor& t : argument.toTensorVector()) check(t, /*scalar_allowed=*/false);
  }
}

void Fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const size_t count = op.schema().arguments().size();
  for (size_t i = stack->size() - count; i < stack->size(); ++i) CheckDevice(op, (*stack)[i]);
  at::native::cpu_fallback(op, stack, /*error_on_views=*/true);
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", &Empty);
  m.impl("empty_strided", &EmptyStrided);
  m.impl("as_strided", &at::native::as_strided_tensorimpl);
  m.impl("view", &at::native::view);
  m.impl("_reshape_alias", &at::native::_reshape_alias);
  m.impl("unfold", &at::native::unfold);
  m.impl("resize_", &Resize);
  m.impl("_copy_from", &CopyFrom);
  m.impl("_copy_from_and_resize", &CopyFromAndResize);
  m.impl("_local_scalar_dense", &LocalScalarDense);
  m.impl("mm.dtype", &WideProduct);
  m.impl("bmm.dtype", &WideProduct);
  m.impl("set_.source_Tensor", &at::native::set_tensor_);
  m.impl("set_.source_Storage", &SetWholeStorage);
  m.impl("set_.source_Storage_storage_offset", &SetStorage);
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&Fallback>());
}

}  // namespace

at::Device Device() { return {kType, 0}; }

void* Allocate(int64_t bytes) {
  return allocator.allocate(static_cast<size_t>(bytes)).release_context();
}

void Free(void* memory) { FreeData(memory); }

void* HostAddress(const void* address) { return TheMemory().HostAddress(address); }

}  // namespace retort::pretend

namespace retort {

at::Device TestDevice() { return pretend::Device(); }

}  // namespace retort
