// SPDX-License-Identifier: Apache-2.0
#include "model/value_copy.hpp"

#include "model/strides.hpp"

#include <ATen/ATen.h>

#include <cstring>
#include <unordered_map>
#include <vector>

namespace amp4ec::detail {

namespace {

class Copier {
 public:
  c10::IValue copy(const c10::IValue& value) {
    if (value.isTensor()) return copy_tensor(value.toTensor());
    if (!value.isList() && !value.isTuple() && !value.isGenericDict() && !value.isObject()) return value;
    if (const auto known = copies_.find(value.internalToPointer()); known != copies_.end()) return known->second;
    c10::IValue copied = copy_container(value);
    copies_.emplace(value.internalToPointer(), copied);
    return copied;
  }

 private:
  at::Tensor copy_tensor(const at::Tensor& tensor) {
    if (!tensor.defined()) return tensor;
    const bool plain = tensor.layout() == at::kStrided && tensor.has_storage() && !tensor.is_quantized() &&
                       !tensor.is_conj() && !tensor.is_neg();
    if (tensor.is_quantized() && tensor.qscheme() == at::kPerTensorAffine) return copy_in_order(tensor);
    if (!plain) return tensor.clone();
    const c10::Storage& given = tensor.storage();
    auto& storage = storages_[given.unsafeGetStorageImpl()];
    if (!storage.defined()) {
      storage = at::empty({static_cast<std::int64_t>(given.nbytes())}, at::kByte);
      if (given.nbytes() != 0) std::memcpy(storage.data_ptr(), given.data(), given.nbytes());
    }
    return at::empty({0}, tensor.options())
        .set_(storage.storage(), tensor.storage_offset(), tensor.sizes(), tensor.strides());
  }

  /// LibTorch 1.13 makes a clone of a quantized tensor contiguous, whatever its strides were.
  static at::Tensor copy_in_order(const at::Tensor& tensor) {
    const auto order = memory_order(tensor);
    return tensor.permute(order).clone().permute(inverse_of(order));
  }

  c10::IValue copy_container(const c10::IValue& value) {
    if (value.isTuple()) {
      std::vector<c10::IValue> elements;
      for (const c10::IValue& element : value.toTupleRef().elements()) elements.push_back(copy(element));
      const auto type = value.type()->cast<c10::TupleType>();
      return type->name() ? c10::ivalue::Tuple::createNamed(std::move(elements), type)
                          : c10::ivalue::Tuple::create(std::move(elements));
    }
    if (value.isList()) {
      c10::impl::GenericList list(value.toList().elementType());
      for (const c10::IValue& element : value.toListRef()) list.push_back(copy(element));
      return list;
    }
    if (value.isGenericDict()) {
      const auto given = value.toGenericDict();
      c10::impl::GenericDict dict(given.keyType(), given.valueType());
      for (const auto& entry : given) dict.insert(copy(entry.key()), copy(entry.value()));
      return dict;
    }
    const auto& given = value.toObjectRef();
    if (given.slots().size() == 1 && given.slots().front().isCapsule()) return value;
    auto object = given.copy();
    for (std::size_t slot = 0; slot < given.slots().size(); ++slot) object->setSlot(slot, copy(given.getSlot(slot)));
    return object;
  }

  std::unordered_map<const void*, c10::IValue> copies_;  // of containers, by identity
  std::unordered_map<const void*, at::Tensor> storages_;
};

}  // namespace

c10::IValue copy_value(const c10::IValue& value) {
  return Copier().copy(value);
}

torch::jit::Module copy_module(const torch::jit::Module& module) {
  return torch::jit::Module(Copier().copy(module._ivalue()).toObject());
}

}  // namespace amp4ec::detail
