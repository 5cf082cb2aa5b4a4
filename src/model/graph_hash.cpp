// SPDX-License-Identifier: Apache-2.0
#include "model/graph_hash.hpp"

#include <fmt/format.h>

#include <ATen/ATen.h>

#include <cstdint>
#include <string_view>
#include <type_traits>

namespace amp4ec::detail {

namespace jit = torch::jit;

namespace {

/// FNV-1a over 64-bit words, 64 bit: a byte at a time would take a second for the weights of a large model.
class Hasher {
 public:
  void bytes(const void* data, std::size_t size) {
    const auto* at = static_cast<const unsigned char*>(data);
    word(size);
    for (; size >= sizeof(std::uint64_t); size -= sizeof(std::uint64_t), at += sizeof(std::uint64_t)) {
      std::uint64_t chunk = 0;
      std::memcpy(&chunk, at, sizeof chunk);
      word(chunk);
    }
    std::uint64_t rest = 0;
    if (size != 0) std::memcpy(&rest, at, size);
    word(rest);
  }
  void text(std::string_view text) { bytes(text.data(), text.size()); }
  template <class T>
  void number(T value) {
    static_assert(std::is_arithmetic_v<T> || std::is_enum_v<T>);
    bytes(&value, sizeof value);
  }
  [[nodiscard]] std::uint64_t result() const noexcept { return hash_; }

 private:
  // The multiplication carries upwards only: folding the high half down lets every bit reach every other.
  void word(std::uint64_t value) {
    constexpr std::uint64_t prime = 0x100000001b3;
    hash_ = (hash_ ^ value) * prime;
    hash_ ^= hash_ >> 32U;
  }
  std::uint64_t hash_ = 0xcbf29ce484222325;
};

class GraphHasher {
 public:
  void block(const jit::Block* block) {
    for (const jit::Value* input : block->inputs()) define(input);
    for (const jit::Node* node : block->nodes()) this->node(node);
    for (const jit::Value* output : block->outputs()) use(output);
  }

  void value(const c10::IValue& value) {
    hasher_.text(value.tagKind());
    if (value.isTensor()) {
      tensor(value.toTensor());
    } else if (value.isTuple()) {
      for (const c10::IValue& element : value.toTupleRef().elements()) this->value(element);
    } else if (value.isList()) {
      for (const c10::IValue& element : value.toListRef()) this->value(element);
    } else if (value.isGenericDict()) {
      for (const auto& entry : value.toGenericDict()) {
        this->value(entry.key());
        this->value(entry.value());
      }
    } else if (value.isObject()) {
      object(value);
    } else if (value.isString()) {
      hasher_.text(value.toStringRef());
    } else if (value.isDouble()) {
      hasher_.number(value.toDouble());
    } else if (value.isInt()) {
      hasher_.number(value.toInt());
    } else if (value.isBool()) {
      hasher_.number(value.toBool());
    } else if (value.isComplexDouble()) {
      hasher_.number(value.toComplexDouble().real());
      hasher_.number(value.toComplexDouble().imag());
    } else if (value.isDevice()) {
      hasher_.text(value.toDevice().str());
    }
  }

  [[nodiscard]] std::string result() const { return fmt::format("{:016x}", hasher_.result()); }

 private:
  void define(const jit::Value* value) {
    numbers_.emplace(value, numbers_.size());
    hasher_.text(value->type()->annotation_str());
  }

  void use(const jit::Value* value) {
    if (const auto found = numbers_.find(value); found != numbers_.end()) hasher_.number(found->second);
  }

  void node(const jit::Node* node) {
    hasher_.text(node->kind().toQualString());
    for (const jit::Value* input : node->inputs()) use(input);
    if (node->kind() == c10::prim::Constant) {
      if (const auto constant = jit::toIValue(node->output())) value(*constant);
    } else if (node->hasAttribute(c10::attr::name)) {  // Of the attribute that is read or written.
      hasher_.text(node->s(c10::attr::name));
    }
    for (const jit::Block* inner : node->blocks()) block(inner);
    for (const jit::Value* output : node->outputs()) define(output);
  }

  void tensor(const at::Tensor& tensor) {
    if (!tensor.defined()) return;
    hasher_.number(tensor.scalar_type());
    hasher_.number(tensor.layout());
    for (const std::int64_t size : tensor.sizes()) hasher_.number(size);
    if (tensor.is_quantized()) {
      if (tensor.qscheme() == at::kPerTensorAffine) {
        hasher_.number(tensor.q_scale());
        hasher_.number(tensor.q_zero_point());
      } else {
        this->tensor(tensor.q_per_channel_scales());
        this->tensor(tensor.q_per_channel_zero_points());
      }
      this->tensor(tensor.int_repr());
    } else if (tensor.layout() == at::kStrided) {
      const at::Tensor dense = tensor.resolve_conj().resolve_neg().contiguous();
      hasher_.bytes(dense.data_ptr(), dense.nbytes());
    } else {
      this->tensor(tensor.to_dense());
    }
  }

  // Packed weights are objects of C++ classes: what they would be pickled as tells them apart.
  void object(const c10::IValue& value) {
    const auto& object = value.toObjectRef();
    hasher_.text(object.name());
    if (const auto* get_state = object.type()->findMethod("__getstate__")) {
      this->value((*const_cast<jit::Function*>(get_state))({value}));
      return;
    }
    for (const c10::IValue& slot : object.slots()) {
      if (!slot.isCapsule()) this->value(slot);
    }
  }

  Hasher hasher_;
  std::unordered_map<const jit::Value*, std::size_t> numbers_;
};

}  // namespace

std::string hash_of(const Lowered& lowered) {
  GraphHasher hasher;
  hasher.block(lowered.graph->block());
  for (const auto& attribute : lowered.state.named_attributes(/*recurse=*/true)) hasher.value(attribute.value);
  return hasher.result();
}

}  // namespace amp4ec::detail
