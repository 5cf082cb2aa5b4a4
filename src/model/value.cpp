// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/model/value.hpp>

#include "model/value_copy.hpp"

#include <ATen/core/ivalue.h>

namespace amp4ec {

Value::Value() : ivalue_(std::make_shared<const c10::IValue>()) {}
Value::Value(at::Tensor tensor) : ivalue_(std::make_shared<const c10::IValue>(std::move(tensor))) {}
Value::Value(c10::IValue ivalue) : ivalue_(std::make_shared<const c10::IValue>(std::move(ivalue))) {}

bool Value::is_tensor() const noexcept {
  return ivalue_->isTensor();
}

Value Value::clone() const {
  return Value(detail::copy_value(*ivalue_));
}

at::Tensor Value::tensor() const {
  return is_tensor() ? ivalue_->toTensor() : at::Tensor();
}

}  // namespace amp4ec
