// SPDX-License-Identifier: Apache-2.0
#include "model/typed_value.hpp"

#include <ATen/core/Dict.h>

#include <algorithm>

namespace amp4ec::detail {

namespace {

std::uint64_t bytes_of(const at::Tensor& tensor) {
  if (tensor.layout() == at::kStrided) return tensor.nbytes();
  if (tensor.layout() == at::kSparse) return tensor._indices().nbytes() + tensor._values().nbytes();
  return static_cast<std::uint64_t>(tensor.numel()) * tensor.element_size();
}

using c10::TypeKind;

bool is_container(const c10::TypePtr& type) {
  const auto contained = type->containedTypes();
  return !contained.empty();
}

bool conform_list(c10::IValue& value, const c10::TypePtr& type) {
  if (!value.isList()) return false;
  const c10::TypePtr& element_type = type->castRaw<c10::ListType>()->getElementType();
  const auto list = value.toList();
  if (*list.elementType() == *element_type) return true;
  c10::impl::GenericList typed(element_type);
  typed.reserve(list.size());
  for (c10::IValue element : value.toListRef()) {
    if (!conform(element, element_type)) return false;
    typed.push_back(std::move(element));
  }
  value = typed;
  return true;
}

bool conform_dict(c10::IValue& value, const c10::TypePtr& type) {
  if (!value.isGenericDict()) return false;
  const auto* wanted = type->castRaw<c10::DictType>();
  const auto dict = value.toGenericDict();
  if (*dict.keyType() == *wanted->getKeyType() && *dict.valueType() == *wanted->getValueType()) return true;
  c10::impl::GenericDict typed(wanted->getKeyType(), wanted->getValueType());
  for (const auto& entry : dict) {
    c10::IValue key = entry.key();
    c10::IValue mapped = entry.value();
    if (!conform(key, wanted->getKeyType()) || !conform(mapped, wanted->getValueType())) return false;
    typed.insert(std::move(key), std::move(mapped));
  }
  value = typed;
  return true;
}

bool conform_tuple(c10::IValue& value, const c10::TypePtr& type) {
  if (!value.isTuple()) return false;
  const auto wanted = type->cast<c10::TupleType>();
  const auto types = wanted->elements();
  const auto& elements = value.toTupleRef().elements();
  if (elements.size() != types.size()) return false;
  std::vector<c10::IValue> typed(elements.begin(), elements.end());
  for (std::size_t i = 0; i < typed.size(); ++i) {
    if (!conform(typed[i], types[i])) return false;
  }
  if (wanted->name()) {
    value = c10::ivalue::Tuple::createNamed(std::move(typed), wanted);
  } else if (std::any_of(types.begin(), types.end(), is_container)) {
    value = c10::ivalue::Tuple::create(std::move(typed));
  }
  return true;
}

}  // namespace

bool conform(c10::IValue& value, const c10::TypePtr& type) {
  switch (type->kind()) {
    case TypeKind::TensorType: return value.isTensor();
    case TypeKind::IntType: return value.isInt();
    case TypeKind::FloatType: return value.isDouble();
    case TypeKind::ComplexType: return value.isComplexDouble();
    case TypeKind::NumberType: return value.isScalar();
    case TypeKind::BoolType: return value.isBool();
    case TypeKind::StringType: return value.isString();
    case TypeKind::DeviceObjType: return value.isDevice();
    case TypeKind::NoneType: return value.isNone();
    case TypeKind::OptionalType:
      return value.isNone() || conform(value, type->castRaw<c10::OptionalType>()->getElementType());
    case TypeKind::ListType: return conform_list(value, type);
    case TypeKind::DictType: return conform_dict(value, type);
    case TypeKind::TupleType: return conform_tuple(value, type);
    case TypeKind::UnionType:
      for (const c10::TypePtr& choice : type->containedTypes()) {
        c10::IValue attempt = value;
        if (!conform(attempt, choice)) continue;
        value = std::move(attempt);
        return true;
      }
      return false;
    case TypeKind::AnyType: return true;
    default: return value.type()->isSubtypeOf(*type);
  }
}

bool is_transferable(const c10::TypePtr& type) {
  switch (type->kind()) {
    case TypeKind::TensorType:
    case TypeKind::IntType:
    case TypeKind::FloatType:
    case TypeKind::ComplexType:
    case TypeKind::NumberType:
    case TypeKind::BoolType:
    case TypeKind::StringType:
    case TypeKind::DeviceObjType:
    case TypeKind::NoneType: return true;
    case TypeKind::ListType:
    case TypeKind::OptionalType:
    case TypeKind::UnionType:
    case TypeKind::DictType:
    case TypeKind::TupleType: {
      const auto contained = type->containedTypes();
      return std::all_of(contained.begin(), contained.end(), is_transferable);
    }
    default: return false;
  }
}

std::uint64_t tensor_bytes(const c10::IValue& value) {
  std::uint64_t total = 0;
  for_each_tensor(value, [&](const at::Tensor& tensor) { total += bytes_of(tensor); });
  return total;
}

}  // namespace amp4ec::detail
