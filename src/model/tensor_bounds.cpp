// SPDX-License-Identifier: Apache-2.0
#include "model/tensor_bounds.hpp"

#include "model/archive.hpp"
#include "model/graph_walk.hpp"
#include "model/lowering.hpp"
#include "model/typed_value.hpp"

#include <ATen/ATen.h>
#include <c10/core/CPUAllocator.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/passes/inliner.h>
#include <torch/version.h>

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <mutex>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <unordered_map>

namespace amp4ec::detail {

namespace jit = torch::jit;

namespace {

/// LibTorch's allocator, and how much each pointer got of it. What it gives is filled with one byte.
class RecordingAllocator final : public c10::Allocator {
 public:
  RecordingAllocator(c10::Allocator* allocator, unsigned char fill) : allocator_(allocator), fill_(fill) {}

#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 3)
  c10::DataPtr allocate(std::size_t size) override {
    return record(size);
  }
  void copy_data(void* to, const void* from, std::size_t count) const override {
    std::memcpy(to, from, count);
  }
#else
  c10::DataPtr allocate(std::size_t size) const override {
    return record(size);
  }
#endif
  c10::DeleterFnPtr raw_deleter() const override {
    return allocator_->raw_deleter();
  }

  std::size_t size_of(const void* data) const {
    const std::lock_guard lock(mutex_);
    const auto found = sizes_.find(data);
    return found == sizes_.end() ? 0 : found->second;
  }
  /// Nobody has written there, or just what was there before.
  bool is_untouched(const void* data) const {
    const auto* bytes = static_cast<const unsigned char*>(data);
    const std::size_t size = size_of(data);
    return size != 0 && std::all_of(bytes, bytes + size, [this](unsigned char byte) { return byte == fill_; });
  }

 private:
  c10::DataPtr record(std::size_t size) const {
    c10::DataPtr data = allocator_->allocate(size);
    if (size != 0) std::memset(data.get(), fill_, size);
    const std::lock_guard lock(mutex_);
    sizes_[data.get()] = size;
    return data;
  }

  c10::Allocator* allocator_;
  unsigned char fill_;
  mutable std::mutex mutex_;
  mutable std::unordered_map<const void*, std::size_t> sizes_;
};

class AllocatorGuard {
 public:
  explicit AllocatorGuard(c10::Allocator* allocator) : previous_(c10::GetCPUAllocator()) {
    c10::SetCPUAllocator(allocator);
  }
  ~AllocatorGuard() { c10::SetCPUAllocator(previous_); }
  AllocatorGuard(const AllocatorGuard&) = delete;
  AllocatorGuard& operator=(const AllocatorGuard&) = delete;

 private:
  c10::Allocator* previous_;
};

/// Bytes from the start of the storage to the end of the last element; empty when they cannot be counted.
std::optional<std::uint64_t> reach(const at::Tensor& tensor) {
  if (tensor.storage_offset() < 0) return std::nullopt;
  std::uint64_t last = static_cast<std::uint64_t>(tensor.storage_offset());
  bool empty = false;
  for (std::int64_t d = 0; d < tensor.dim(); ++d) {
    if (tensor.size(d) < 0 || tensor.stride(d) < 0) return std::nullopt;
    if (tensor.size(d) == 0) empty = true;
  }
  if (empty) return 0;
  for (std::int64_t d = 0; d < tensor.dim(); ++d) {
    std::uint64_t steps = 0;
    const auto size = static_cast<std::uint64_t>(tensor.size(d));
    const auto stride = static_cast<std::uint64_t>(tensor.stride(d));
    if (__builtin_mul_overflow(size - 1, stride, &steps) || __builtin_add_overflow(last, steps, &last))
      return std::nullopt;
  }
  std::uint64_t bytes = 0;
  if (last == std::numeric_limits<std::uint64_t>::max() ||
      __builtin_mul_overflow(last + 1, static_cast<std::uint64_t>(tensor.element_size()), &bytes))
    return std::nullopt;
  return bytes;
}

class Checker {
 public:
  explicit Checker(const RecordingAllocator& allocator) : allocator_(allocator) {}

  /// What is wrong with the tensor; empty when it lies within its data.
  std::string fault(const at::Tensor& tensor) const {
    if (tensor.is_sparse()) return sparse_fault(tensor);
    if (tensor.layout() == at::kSparseCsr) return compressed_fault(tensor);
    if (!tensor.has_storage()) return "nothing is known of its layout";
    const std::size_t held = allocator_.size_of(tensor.storage().data());
    if (tensor.storage().nbytes() > held)
      return fmt::format("its storage claims {} bytes, the file holds {}", tensor.storage().nbytes(), held);
    const auto needed = reach(tensor);
    if (!needed || *needed > held) {
      return fmt::format("its sizes and strides need {} bytes, the file holds {}",
                         needed ? fmt::to_string(*needed) : std::string("uncountably many"), held);
    }
    if (tensor.is_quantized() && q_scheme_is_per_channel(tensor)) return per_channel_fault(tensor);
    return {};
  }

 private:
  std::string sparse_fault(const at::Tensor& tensor) const {
    const at::Tensor indices = tensor._indices();
    const at::Tensor values = tensor._values();
    return composed_fault({indices, values},
                          [&] { at::_validate_sparse_coo_tensor_args(indices, values, tensor.sizes()); });
  }

  std::string compressed_fault(const at::Tensor& tensor) const {
    const at::Tensor rows = tensor.crow_indices();
    const at::Tensor columns = tensor.col_indices();
    const at::Tensor values = tensor.values();
    return composed_fault({rows, columns, values},
                          [&] { at::_validate_sparse_csr_tensor_args(rows, columns, values, tensor.sizes()); });
  }

  std::string per_channel_fault(const at::Tensor& tensor) const {
    const auto axis = tensor.q_per_channel_axis();
    if (axis < 0 || axis >= tensor.dim()) return fmt::format("it has no axis {} to be quantized along", axis);
    const at::Tensor scales = tensor.q_per_channel_scales();
    const at::Tensor zero_points = tensor.q_per_channel_zero_points();
    return composed_fault({scales, zero_points}, [&] {
      for (const at::Tensor& part : {scales, zero_points}) {
        if (part.numel() != tensor.size(axis)) {
          throw std::runtime_error(
              fmt::format("{} channels have {} scales or zero points", tensor.size(axis), part.numel()));
        }
      }
    });
  }

  /// Of a tensor that consists of others: theirs, or what `validate` throws about all together.
  template <class Validate>
  std::string composed_fault(std::initializer_list<at::Tensor> parts, const Validate& validate) const {
    for (const at::Tensor& part : parts) {
      if (std::string inner = fault(part); !inner.empty()) return inner;
    }
    try {
      validate();
      return {};
    } catch (const std::exception& exception) {
      return first_line(exception);
    }
  }

  static bool q_scheme_is_per_channel(const at::Tensor& tensor) {
    return tensor.qscheme() == at::kPerChannelAffine || tensor.qscheme() == at::kPerChannelAffineFloatQParams;
  }

  const RecordingAllocator& allocator_;
};

template <class Visit>
void for_each_constant(jit::Block* block, const Visit& visit) {
  for_each_node(*block, [&](jit::Node* node) {
    if (node->kind() == c10::prim::Constant) {
      if (const auto value = jit::toIValue(node->output())) for_each_tensor(*value, visit);
    }
    if (!node->hasAttribute(c10::attr::Subgraph)) return;
    const auto forked = node->g(c10::attr::Subgraph)->copy();
    jit::Inline(*forked);
    for_each_constant(forked->block(), visit);
  });
}

template <class Visit>
void for_each_tensor_of(const jit::Module& module, const Visit& visit) {
  for (const auto& attribute : module.named_attributes(/*recurse=*/true)) {
    if (attribute.value.isModule()) continue;  // Its own attributes are in the list.
    for_each_tensor(attribute.value, [&](const at::Tensor& tensor) { visit(attribute.name, tensor); });
  }
  if (!module.find_method("forward")) return;
  const auto graph = module.get_method("forward").graph()->copy();
  jit::Inline(*graph);
  std::size_t index = 0;
  for_each_constant(graph->block(),
                    [&](const at::Tensor& tensor) { visit(fmt::format("constant {}", index++), tensor); });
}

Error damaged(const std::filesystem::path& file, const std::string& name, const std::string& fault) {
  return {Errc::ModelCorrupt,
          fmt::format("'{}' is damaged: tensor '{}': {}; take another copy of the file", file.string(), name, fault)};
}

/// Loads the file and checks its tensors. `untouched`: the names of those whose memory is as it was allocated.
Result<jit::Module> load_once(const std::filesystem::path& file, unsigned char fill, std::set<std::string>& untouched) {
  // Never freed: tensors may name it as their allocator as long as they live.
  auto& allocator = *new RecordingAllocator(c10::GetCPUAllocator(), fill);
  const AllocatorGuard guard(&allocator);
  auto module = load_archive(file);
  if (!module) return module;
  const Checker checker(allocator);
  std::optional<Error> error;
  for_each_tensor_of(*module, [&](const std::string& name, const at::Tensor& tensor) {
    if (error) return;
    if (const std::string fault = checker.fault(tensor); !fault.empty())
      error = damaged(file, name, fault);
    else if (tensor.has_storage() && allocator.is_untouched(tensor.storage().data()))
      untouched.insert(name);
  });
  if (error) return *error;
  return module;
}

}  // namespace

Result<jit::Module> load_within_bounds(const std::filesystem::path& file) {
  std::set<std::string> untouched;
  if (auto module = load_once(file, 0xFF, untouched); !module || untouched.empty()) return module;
  // All ones may be what the file says. Then they are there over zeros, too.
  std::set<std::string> untouched_again;
  auto module = load_once(file, 0x00, untouched_again);
  if (!module) return module;
  for (const std::string& name : untouched) {
    if (untouched_again.contains(name)) return damaged(file, name, "the file holds no data for it");
  }
  return module;
}

}  // namespace amp4ec::detail
