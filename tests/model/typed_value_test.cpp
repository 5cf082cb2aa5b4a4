// SPDX-License-Identifier: Apache-2.0
#include "model/typed_value.hpp"

#include "support/catch.hpp"

#include <torch/csrc/jit/frontend/script_type_parser.h>
#include <torch/script.h>

using amp4ec::detail::conform;
using amp4ec::detail::is_transferable;

namespace {

c10::TypePtr type_of(const std::string& annotation) {
  return torch::jit::ScriptTypeParser().parseType(annotation);
}

/// A list as a message carries it.
c10::IValue untyped(std::vector<c10::IValue> elements) {
  c10::impl::GenericList list(c10::AnyType::get());
  for (c10::IValue& element : elements) list.push_back(std::move(element));
  return list;
}

c10::IValue untyped_dict(std::vector<std::pair<c10::IValue, c10::IValue>> entries) {
  c10::impl::GenericDict dict(c10::AnyType::get(), c10::AnyType::get());
  for (auto& [key, value] : entries) dict.insert(std::move(key), std::move(value));
  return dict;
}

c10::IValue tuple(std::vector<c10::IValue> elements) {
  return c10::ivalue::Tuple::create(std::move(elements));
}

bool fits(c10::IValue value, const std::string& annotation) {
  return conform(value, type_of(annotation));
}

std::string type_after(c10::IValue value, const std::string& annotation) {
  REQUIRE(conform(value, type_of(annotation)));
  return value.type()->annotation_str();
}

}  // namespace

TEST_CASE("simple values are of their type or refused") {
  CHECK(fits(at::ones({1}), "Tensor"));
  CHECK(fits(at::Tensor(), "Tensor"));
  CHECK(fits(std::int64_t{3}, "int"));
  CHECK(fits(2.5, "float"));
  CHECK(fits(c10::complex<double>(1, 2), "complex"));
  CHECK(fits(true, "bool"));
  CHECK(fits("text", "str"));
  CHECK(fits(at::Device(at::kCPU), "Device"));
  CHECK(fits(c10::IValue(), "Optional[int]"));
  CHECK(fits(std::int64_t{3}, "number"));

  CHECK_FALSE(fits(std::int64_t{3}, "float"));
  CHECK_FALSE(fits(2.5, "int"));
  CHECK_FALSE(fits(true, "int"));
  CHECK_FALSE(fits(std::int64_t{1}, "bool"));
  CHECK_FALSE(fits("3", "int"));
  CHECK_FALSE(fits(c10::IValue(), "Tensor"));
  CHECK_FALSE(fits(std::int64_t{3}, "Tensor"));
  CHECK_FALSE(fits("cpu", "Device"));
  CHECK_FALSE(fits("text", "Optional[int]"));
}

TEST_CASE("lists and dictionaries get their element types back") {
  CHECK(type_after(untyped({std::int64_t{1}, std::int64_t{2}}), "List[int]") == "List[int]");
  CHECK(type_after(untyped({}), "List[Tensor]") == "List[Tensor]");
  CHECK(type_after(untyped({untyped({at::ones({1})}), untyped({})}), "List[List[Tensor]]") == "List[List[Tensor]]");
  CHECK(type_after(untyped({c10::IValue(), at::ones({1})}), "List[Optional[Tensor]]") == "List[Optional[Tensor]]");
  CHECK(type_after(untyped_dict({{"a", untyped({1.5})}}), "Dict[str, List[float]]") == "Dict[str, List[float]]");
  CHECK(type_after(untyped_dict({}), "Dict[int, Tensor]") == "Dict[int, Tensor]");
  CHECK(type_after(untyped({1.5}), "Optional[List[float]]") == "List[float]");

  CHECK_FALSE(fits(untyped({std::int64_t{1}, 2.5}), "List[int]"));
  CHECK_FALSE(fits(untyped({untyped({"a"})}), "List[List[int]]"));
  CHECK_FALSE(fits(std::int64_t{1}, "List[int]"));
  CHECK_FALSE(fits(tuple({std::int64_t{1}}), "List[int]"));
  CHECK_FALSE(fits(untyped_dict({{"a", 1.5}}), "Dict[int, float]"));
  CHECK_FALSE(fits(untyped_dict({{"a", 1.5}}), "Dict[str, int]"));
  CHECK_FALSE(fits(untyped({}), "Dict[str, int]"));
}

TEST_CASE("what is rebuilt holds the same, in the same order") {
  const at::Tensor shared = at::ones({2});
  c10::IValue dict = untyped_dict({{"z", shared}, {"a", at::zeros({1})}});
  REQUIRE(conform(dict, type_of("Dict[str, Tensor]")));
  const auto typed = dict.toGenericDict();
  REQUIRE(typed.size() == 2);
  CHECK(typed.begin()->key().toStringRef() == "z");
  CHECK(typed.begin()->value().toTensor().is_same(shared));
  c10::IValue list = untyped({std::int64_t{3}, std::int64_t{1}});
  REQUIRE(conform(list, type_of("List[int]")));
  CHECK(list.toIntVector() == std::vector<std::int64_t>{3, 1});
}

TEST_CASE("what has its type already is the same object still") {
  const c10::List<std::int64_t> list({1, 2});
  c10::IValue value = list;
  REQUIRE(conform(value, type_of("List[int]")));
  CHECK(value.toIntList().is(list));
  c10::Dict<std::string, at::Tensor> dict;
  c10::IValue mapped = dict;
  REQUIRE(conform(mapped, type_of("Optional[Dict[str, Tensor]]")));
  CHECK(mapped.toGenericDict().is(c10::impl::toGenericDict(dict)));
}

TEST_CASE("tuples are rebuilt within, and named ones get their names") {
  CHECK(type_after(tuple({std::int64_t{1}, untyped({at::ones({1})})}), "Tuple[int, List[Tensor]]") ==
        "Tuple[int, List[Tensor]]");
  CHECK(type_after(tuple({tuple({untyped({1.5}), "x"}), std::int64_t{2}}), "Tuple[Tuple[List[float], str], int]") ==
        "Tuple[Tuple[List[float], str], int]");
  CHECK_FALSE(fits(tuple({std::int64_t{1}}), "Tuple[int, int]"));
  CHECK_FALSE(fits(tuple({std::int64_t{1}, 2.5}), "Tuple[int, int]"));
  CHECK_FALSE(fits(untyped({std::int64_t{1}}), "Tuple[int]"));

  const auto inner =
      c10::TupleType::createNamed(c10::QualifiedName("__torch__.Inner"), std::vector<std::string>{"values"},
                                  std::vector<c10::TypePtr>{c10::ListType::ofTensors()});
  const auto outer =
      c10::TupleType::createNamed(c10::QualifiedName("__torch__.Outer"), std::vector<std::string>{"inner", "count"},
                                  std::vector<c10::TypePtr>{inner, c10::IntType::get()});
  c10::IValue value = tuple({tuple({untyped({at::ones({1})})}), std::int64_t{3}});
  REQUIRE(conform(value, outer));
  CHECK(*value.type() == *outer);
  CHECK(*value.toTupleRef().elements()[0].type() == *inner);
  CHECK(value.type()->expect<c10::TupleType>()->schema()->arguments().at(1).name() == "count");

  c10::IValue listed = untyped({tuple({untyped({})})});
  REQUIRE(conform(listed, c10::ListType::create(inner)));
  CHECK(*listed.toListRef()[0].type() == *inner);
  c10::IValue wrong = tuple({tuple({std::int64_t{1}}), std::int64_t{3}});
  CHECK_FALSE(conform(wrong, outer));
}

TEST_CASE("a union takes the first choice that fits") {
  const auto either = c10::UnionType::create({c10::IntType::get(), c10::ListType::ofStrings(), c10::StringType::get()});
  c10::IValue list = untyped({"a", "b"});
  REQUIRE(conform(list, either));
  CHECK(list.type()->annotation_str() == "List[str]");
  c10::IValue number = std::int64_t{3};
  CHECK(conform(number, either));
  c10::IValue text = "x";
  CHECK(conform(text, either));
  c10::IValue wrong = 2.5;
  CHECK_FALSE(conform(wrong, either));
  c10::IValue mixed = untyped({"a", std::int64_t{1}});
  CHECK_FALSE(conform(mixed, either));
}

TEST_CASE("which types can travel") {
  for (const char* annotation : {"Tensor", "int", "float", "complex", "bool", "str", "Device", "number", "List[int]",
                                 "Optional[Tensor]", "Dict[str, List[Tensor]]", "Tuple[int, Tuple[str, Tensor]]"}) {
    INFO(annotation);
    CHECK(is_transferable(type_of(annotation)));
  }
  CHECK(is_transferable(c10::NoneType::get()));
  CHECK(is_transferable(c10::UnionType::create({c10::IntType::get(), c10::StringType::get()})));
  const auto future = c10::FutureType::create(c10::TensorType::get());
  CHECK_FALSE(is_transferable(future));
  CHECK_FALSE(is_transferable(c10::ListType::create(future)));
  CHECK_FALSE(is_transferable(c10::TupleType::create({c10::IntType::get(), future})));
  CHECK_FALSE(is_transferable(c10::OptionalType::create(future)));
  CHECK_FALSE(is_transferable(torch::jit::Module("Some").type()));
}

TEST_CASE("every tensor inside a value is visited") {
  std::size_t count = 0;
  const auto visit = [&](const at::Tensor&) { ++count; };
  amp4ec::detail::for_each_tensor(
      tuple({at::ones({1}), untyped({at::ones({1}), at::Tensor()}), untyped_dict({{"a", at::ones({1})}}), 2.5}), visit);
  CHECK(count == 3);
}
