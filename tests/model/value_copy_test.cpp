// SPDX-License-Identifier: Apache-2.0
#include "model/value_copy.hpp"

#include "model/split_check.hpp"
#include "model/support.hpp"
#include "support/catch.hpp"

#include <amp4ec/model/compare.hpp>

using namespace amp4ec;
using namespace amp4ec::test;
using amp4ec::detail::copy_value;

namespace {

bool same(const c10::IValue& a, const c10::IValue& b) {
  return compare(Value(a), Value(b)).bit_equal;
}

/// A copy must be equal, and share no memory with what it was made of.
c10::IValue checked_copy(const c10::IValue& value) {
  const c10::IValue copy = copy_value(value);
  CHECK(copy.type()->annotation_str() == value.type()->annotation_str());
  CHECK(same(copy, value));
  CHECK_FALSE(copy.overlaps(value));
  return copy;
}

}  // namespace

TEST_CASE("rows of one matrix stay different in a copy") {
  const at::Tensor matrix = at::arange(12, at::kFloat).reshape({3, 4});
  const auto copy = checked_copy(c10::IValue(matrix.unbind())).toTensorVector();
  REQUIRE(copy.size() == 3);
  for (std::int64_t row = 0; row < 3; ++row) CHECK(at::equal(copy[static_cast<std::size_t>(row)], matrix[row]));
}

TEST_CASE("what shares memory shares it in the copy, and with nobody else") {
  const at::Tensor matrix = at::arange(12, at::kFloat).reshape({3, 4});
  const auto copy =
      checked_copy(c10::IValue(std::make_tuple(matrix, matrix.t(), matrix.select(0, 1), matrix.clone()))).toTuple();
  const auto at = [&](std::size_t i) { return copy->elements()[i].toTensor(); };
  CHECK(at(1).strides() == at::IntArrayRef({1, 4}));
  at(2).fill_(100.0);
  CHECK(at(0)[1][2].item<float>() == 100);
  CHECK(at(1)[2][1].item<float>() == 100);
  CHECK(at(3)[1][2].item<float>() == 6);
  CHECK(matrix[1][2].item<float>() == 6);
}

TEST_CASE("strides, gaps and expansions are kept") {
  for (const at::Tensor& tensor :
       {at::randn({2, 3, 4, 5}).contiguous(at::MemoryFormat::ChannelsLast), at::randn({8, 8}).slice(0, 1, 7, 2),
        at::randn({4, 1}).expand({4, 5}), at::randn({3, 4}).t(), at::empty({0, 3}), at::tensor(2.5),
        at::ones({3}, at::kBool), at::ones({3}, at::kBFloat16)}) {
    CHECK(checked_copy(tensor).toTensor().strides() == tensor.strides());
  }
  CHECK_FALSE(copy_value(at::Tensor()).toTensor().defined());
  const at::Tensor complex = at::complex(at::randn({3}), at::randn({3}));
  CHECK(same(copy_value(complex), complex));
  CHECK(same(copy_value(complex.conj()), complex.conj()));
  CHECK(same(copy_value(at::imag(complex.conj())), at::imag(complex.conj())));
}

TEST_CASE("lists, dictionaries and tuples are copied through and through") {
  c10::impl::GenericDict dict(c10::StringType::get(), c10::ListType::ofTensors());
  dict.insert(std::string("weights"), c10::IValue(std::vector<at::Tensor>{at::ones({2}), at::zeros({3})}));
  const c10::IValue copy =
      checked_copy(c10::IValue(std::make_tuple(c10::IValue(dict), std::int64_t{3}, std::string("x"), c10::IValue())));
  copy.toTupleRef().elements()[0].toGenericDict().at(std::string("weights")).toTensorList().get(0).fill_(7.0);
  CHECK(dict.at(std::string("weights")).toTensorVector().front()[0].item<float>() == 1);
  copy.toTupleRef().elements()[0].toGenericDict().insert(std::string("more"), c10::List<at::Tensor>());
  CHECK(dict.size() == 1);
}

TEST_CASE("one list in two places is one list in the copy") {
  const c10::List<at::Tensor> list({at::ones({2})});
  const c10::IValue copy = checked_copy(c10::IValue(std::make_tuple(list, list)));
  const auto first = copy.toTupleRef().elements()[0].toTensorList();
  const auto second = copy.toTupleRef().elements()[1].toTensorList();
  CHECK(first.is(second));
  CHECK_FALSE(first.is(list));
}

TEST_CASE("named tuples keep their names") {
  const auto type =
      c10::TupleType::createNamed(c10::QualifiedName("__torch__.Pair"), std::vector<std::string>{"left", "right"},
                                  std::vector<c10::TypePtr>{c10::TensorType::get(), c10::IntType::get()});
  const c10::IValue named = c10::ivalue::Tuple::createNamed({at::ones({2}), std::int64_t{3}}, type);
  const auto copied = checked_copy(named).type()->cast<c10::TupleType>();
  REQUIRE(copied->name());
  CHECK(copied->name()->name() == "Pair");
  CHECK(copied->schema()->arguments().at(1).name() == "right");
}

TEST_CASE("quantized and sparse tensors are copied") {
  const at::Tensor image = at::randn({2, 3, 4, 5}).contiguous(at::MemoryFormat::ChannelsLast);
  const at::Tensor quantized = at::quantize_per_tensor(image, 0.1, 3, at::kQUInt8);
  const at::Tensor copy = copy_value(quantized).toTensor();
  CHECK(same(copy, quantized));
  CHECK_FALSE(copy.is_alias_of(quantized));
  const auto rows =
      copy_value(
          c10::IValue(at::quantize_per_tensor(at::arange(6, at::kFloat).reshape({2, 3}), 1.0, 0, at::kQInt8).unbind()))
          .toTensorVector();
  CHECK(rows[1].int_repr()[0].item<int>() == 3);
  const at::Tensor sparse = at::eye(3).to_sparse();
  const at::Tensor sparse_copy = copy_value(sparse).toTensor();
  CHECK(same(sparse_copy, sparse));
  CHECK(sparse_copy.is_coalesced());
  sparse_copy._values().fill_(5.0);
  CHECK(at::equal(sparse.to_dense(), at::eye(3)));
}

TEST_CASE("a module's copy has state of its own, shared inside as before") {
  torch::jit::Module module("Module");
  const at::Tensor weights = torch::ones({2, 2});
  module.register_buffer("weights", weights);
  module.register_buffer("row", weights.select(0, 0));
  torch::jit::Module child("Child");
  child.register_buffer("weights", weights);
  module.register_module("child", child);
  module.define("def forward(self, x):\n    self.weights.add_(x)\n    return self.row\n");
  torch::jit::Module copy = amp4ec::detail::copy_module(module);
  CHECK(at::equal(copy.forward({at::ones({1})}).toTensor(), at::full({2}, 2.0)));
  CHECK(at::equal(copy.attr("child").toModule().attr("weights").toTensor(), at::full({2, 2}, 2.0)));
  CHECK(at::equal(weights, at::ones({2, 2})));
}

TEST_CASE("the copy of a quantized tensor keeps its strides") {
  const at::Tensor image = at::randn({2, 3, 4, 5}).contiguous(at::MemoryFormat::ChannelsLast);
  const at::Tensor quantized = at::quantize_per_tensor(image, 0.1, 3, at::kQUInt8);
  CHECK(copy_value(quantized).toTensor().strides() == quantized.strides());
}
