// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

namespace c10 {
struct IValue;  // <ATen/core/ivalue.h> costs seconds of compile time; only who builds other than tensors needs it.
}

namespace amp4ec {

/// What goes into and comes out of a model: a tensor, or any other TorchScript value (numbers, strings, lists, tuples,
/// dictionaries, None). A cheap shared handle; copies share the value. Tensors are CPU tensors and are not copied.
/// Thread-safe as long as nobody writes the tensor meanwhile.
class Value {
 public:
  Value();                   ///< None.
  Value(at::Tensor tensor);  // NOLINT(google-explicit-constructor): `infer({image})` is the point of the type.
  explicit Value(c10::IValue ivalue);

  [[nodiscard]] bool is_tensor() const noexcept;
  /// @pre is_tensor(); otherwise an undefined tensor is returned.
  [[nodiscard]] at::Tensor tensor() const;
  [[nodiscard]] const c10::IValue& ivalue() const noexcept { return *ivalue_; }

  /// The same value in memory of its own; tensors that share memory within it still do.
  [[nodiscard]] Value clone() const;

 private:
  std::shared_ptr<const c10::IValue> ivalue_;
};

using Values = std::vector<Value>;

}  // namespace amp4ec
