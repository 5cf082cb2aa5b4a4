// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/ivalue.h>
#include <ATen/core/jit_type.h>

#include <cstdint>

namespace amp4ec::detail {

/// True for types whose values may cross between processes: tensors, numbers, strings, devices, None, and lists,
/// optionals, unions, dictionaries, tuples and named tuples of them.
bool is_transferable(const c10::TypePtr& type);

/// Gives a value the type that a signature declares. Messages and pickled examples carry containers without element
/// types and named tuples without names: they are rebuilt; what has the type already is left as it is. False when the
/// value cannot have that type; it is then in an unspecified, valid state.
bool conform(c10::IValue& value, const c10::TypePtr& type);

/// Calls `visit(tensor)` for each defined tensor in a value: the value itself, or inside lists, tuples, dictionaries
/// and objects of TorchScript classes.
template <class Visit>
void for_each_tensor(const c10::IValue& value, const Visit& visit) {
  if (value.isTensor()) {
    if (value.toTensor().defined()) visit(value.toTensor());
  } else if (value.isTuple()) {
    for (const c10::IValue& element : value.toTupleRef().elements()) for_each_tensor(element, visit);
  } else if (value.isList()) {
    for (const c10::IValue& element : value.toListRef()) for_each_tensor(element, visit);
  } else if (value.isGenericDict()) {
    for (const auto& entry : value.toGenericDict()) {
      for_each_tensor(entry.key(), visit);
      for_each_tensor(entry.value(), visit);
    }
  } else if (value.isObject()) {
    for (const c10::IValue& slot : value.toObjectRef().slots()) for_each_tensor(slot, visit);
  }
}

/// Bytes of all tensors in a value.
std::uint64_t tensor_bytes(const c10::IValue& value);

}  // namespace amp4ec::detail
