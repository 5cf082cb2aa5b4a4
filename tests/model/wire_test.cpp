// SPDX-License-Identifier: Apache-2.0
#include "model/wire.hpp"

#include "model/typed_value.hpp"
#include "support/catch.hpp"

#include <amp4ec/model/compare.hpp>

#include <ATen/ATen.h>
#include <torch/script.h>

#include <cstring>
#include <random>

using namespace amp4ec;
using namespace amp4ec::detail;

namespace {

struct alignas(64) Line {
  std::byte bytes[64];
};

/// A slot as an edge gives it: aligned to 64.
class Slot {
 public:
  explicit Slot(std::size_t size) : lines_((size + 63) / 64), size_(size) {}
  std::span<std::byte> bytes() { return {lines_.empty() ? nullptr : lines_.front().bytes, size_}; }

 private:
  std::vector<Line> lines_;
  std::size_t size_;
};

Values plain_examples() {
  c10::impl::GenericDict dict(c10::StringType::get(), c10::TensorType::get());
  dict.insert(std::string("weight"), at::arange(6).reshape({2, 3}));
  c10::List<std::int64_t> empty;
  return {at::randn({2, 3, 4}),
          at::randn({2, 3, 4, 5}).contiguous(at::MemoryFormat::ChannelsLast),
          at::randn({8, 8}).slice(0, 1, 7, 2),
          at::randn({8, 8}).select(1, 3),
          at::randn({4, 1}).expand({4, 5}),
          at::randn({3, 4}).t(),
          at::arange(5),
          at::tensor(2.5),
          at::empty({0, 3}),
          at::ones({3}, at::kBool),
          at::ones({3}, at::kHalf),
          at::ones({3}, at::kBFloat16),
          at::ones({3}, at::kByte),
          at::complex(at::randn({3}), at::randn({3})),
          at::complex(at::randn({3}), at::randn({3})).conj(),
          Value(),
          Value(c10::IValue(7)),
          Value(c10::IValue(2.5)),
          Value(c10::IValue(c10::complex<double>(1.5, -2.0))),
          Value(c10::IValue(true)),
          Value(c10::IValue("text")),
          Value(c10::IValue(at::Device(at::kCPU))),
          Value(c10::IValue(at::Device(at::kCUDA, 1))),
          Value(c10::IValue(std::vector<std::int64_t>{1, 2, 3})),
          Value(c10::IValue(empty)),
          Value(c10::IValue(std::vector<at::Tensor>{at::ones({2}), at::zeros({3})})),
          Value(c10::IValue(std::make_tuple(at::ones({2}), std::int64_t{3}, std::string("x")))),
          Value(c10::IValue(dict))};
}

/// Tensors that are more than numbers in a row.
Values special_examples() {
  const at::Tensor image = at::randn({2, 3, 4, 5});
  const at::Tensor scales = at::tensor({0.1, 0.2, 0.3}, at::kDouble);
  const at::Tensor zero_points = at::tensor({0, 1, 2}, at::kLong);
  const at::Tensor indices = at::tensor({0, 1, 1, 2, 0, 0}, at::kLong).reshape({2, 3});
  Values values{at::quantize_per_tensor(image, 0.1, 3, at::kQUInt8),
                at::quantize_per_tensor(image.contiguous(at::MemoryFormat::ChannelsLast), 0.1, 0, at::kQInt8),
                at::quantize_per_tensor(image, 0.01, 0, at::kQInt32),
                at::quantize_per_channel(image, scales, zero_points, 1, at::kQInt8),
                at::eye(3).to_sparse(),
                at::sparse_coo_tensor(indices, at::ones({3}), {2, 3}),
                at::sparse_coo_tensor(indices, at::ones({3, 2}), {2, 3, 2}),
                at::eye(3).to_sparse_csr(),
                Value(at::Tensor())};
  if (at::hasMKLDNN()) values.emplace_back(at::randn({2, 3}).to_mkldnn());
  return values;
}

Values examples() {
  Values all = plain_examples();
  for (Value& value : special_examples()) all.push_back(std::move(value));
  return all;
}

Values round_trip(const Values& values) {
  Slot slot(encoded_size(values).value());
  REQUIRE(encode(values, slot.bytes()).value() == slot.bytes().size());
  return decode_copy(slot.bytes()).value();
}

at::Tensor round_trip(const at::Tensor& tensor) {
  return round_trip(Values{tensor}).front().tensor();
}

c10::IValue nested_lists(std::size_t depth) {
  c10::IValue value = 1;
  for (std::size_t i = 0; i < depth; ++i) {
    c10::impl::GenericList list(c10::AnyType::get());
    list.push_back(value);
    value = list;
  }
  return value;
}

}  // namespace

TEST_CASE("every kind of value arrives as it was sent, copied or in place") {
  const Values sent = examples();
  Slot slot(encoded_size(sent).value());
  REQUIRE(encode(sent, slot.bytes()).value() == slot.bytes().size());

  bool released = false;
  {
    auto lease = std::shared_ptr<void>(nullptr, [&](void*) { released = true; });
    const Values in_place =
        decode_in_place(slot.bytes(), std::shared_ptr<void>(std::make_shared<std::shared_ptr<void>>(lease))).value();
    lease.reset();
    const Values copied = decode_copy(slot.bytes()).value();
    REQUIRE(in_place.size() == sent.size());
    REQUIRE(copied.size() == sent.size());
    for (std::size_t i = 0; i < sent.size(); ++i) {
      INFO("value " << i);
      CHECK(compare(in_place[i], sent[i]).bit_equal);
      CHECK(compare(copied[i], sent[i]).bit_equal);
      if (sent[i].is_tensor()) continue;
      // Containers come without element types; who knows the signature gives these back.
      c10::IValue typed = copied[i].ivalue();
      CHECK(conform(typed, sent[i].ivalue().type()));
      CHECK(typed.type()->annotation_str() == sent[i].ivalue().type()->annotation_str());
    }
    const auto* first = static_cast<const std::byte*>(in_place[0].tensor().data_ptr());
    CHECK(first >= slot.bytes().data());
    CHECK(first < slot.bytes().data() + slot.bytes().size());
    CHECK(reinterpret_cast<std::uintptr_t>(first) % 64 == 0);
    CHECK(in_place[1].tensor().is_contiguous(at::MemoryFormat::ChannelsLast));
    CHECK_FALSE(released);
  }
  CHECK(released);
}

TEST_CASE("a slot that is too small is an error, not an overrun") {
  const Values sent = examples();
  const std::size_t needed = encoded_size(sent).value();
  for (std::size_t size = 0; size < needed; size += 13) {
    Slot slot(size);
    CHECK(encode(sent, slot.bytes()).error().code == Errc::MessageTooLarge);
  }
}

TEST_CASE("dense tensors keep their strides unless far more than they show would travel") {
  for (const at::Tensor& tensor :
       {at::randn({2, 3, 4, 5}).contiguous(at::MemoryFormat::ChannelsLast), at::randn({8, 8}).slice(0, 1, 7, 2),
        at::randn({4, 1}).expand({4, 5}), at::randn({3, 4}).t()}) {
    CHECK(round_trip(tensor).strides() == tensor.strides());
  }
  const at::Tensor expanded = at::ones({1}).expand({1 << 20});
  CHECK(encoded_size({expanded}).value() < 1024);
  CHECK(encoded_size({at::ones({1000, 1000}).select(1, 0)}).value() < 8192);
}

TEST_CASE("quantized tensors keep their integers, scales and order in memory") {
  const at::Tensor image = at::randn({2, 3, 4, 5});
  for (const auto format : {at::MemoryFormat::Contiguous, at::MemoryFormat::ChannelsLast}) {
    const at::Tensor sent = at::quantize_per_tensor(image.contiguous(format), 0.1, 3, at::kQUInt8);
    const at::Tensor received = round_trip(sent);
    CHECK(received.strides() == sent.strides());
    CHECK(received.is_contiguous(format));
    CHECK(received.scalar_type() == at::kQUInt8);
    CHECK(received.q_scale() == 0.1);
    CHECK(received.q_zero_point() == 3);
    CHECK(at::equal(received.int_repr(), sent.int_repr()));
  }
  const at::Tensor sent = at::quantize_per_channel(image, at::tensor({0.1, 0.2, 0.3}, at::kDouble),
                                                   at::tensor({0, 1, 2}, at::kLong), 1, at::kQInt8);
  const at::Tensor received = round_trip(sent);
  CHECK(received.qscheme() == sent.qscheme());
  CHECK(received.q_per_channel_axis() == 1);
  CHECK(at::equal(received.q_per_channel_scales(), sent.q_per_channel_scales()));
  CHECK(at::equal(received.q_per_channel_zero_points(), sent.q_per_channel_zero_points()));
  CHECK(at::equal(received.int_repr(), sent.int_repr()));
}

TEST_CASE("sparse tensors keep their layout and whether they are coalesced") {
  const at::Tensor coalesced = at::eye(3).to_sparse();
  CHECK(round_trip(coalesced).is_coalesced());
  const at::Tensor twice = at::tensor({0, 0, 1, 1}, at::kLong).reshape({2, 2});
  const at::Tensor doubled = at::sparse_coo_tensor(twice, at::ones({2}), {2, 3});
  const at::Tensor received = round_trip(doubled);
  CHECK_FALSE(received.is_coalesced());
  CHECK(received._nnz() == 2);
  CHECK(at::equal(received.to_dense(), doubled.to_dense()));
  const at::Tensor rows = at::eye(3).to_sparse_csr();
  CHECK(round_trip(rows).layout() == at::kSparseCsr);
  CHECK(at::equal(round_trip(rows).to_dense(), at::eye(3)));
}

TEST_CASE("an opaque tensor crosses as what it is") {
  if (!at::hasMKLDNN()) return;
  const at::Tensor sent = at::randn({2, 3}).to_mkldnn();
  const at::Tensor received = round_trip(sent);
  CHECK(received.is_mkldnn());
  CHECK(at::equal(received.to_dense(), sent.to_dense()));
}

TEST_CASE("numbers, devices and tensors that are not there cross") {
  const Values received = round_trip(Values{Value(c10::IValue(c10::complex<double>(1.5, -2.0))),
                                            Value(c10::IValue(at::Device(at::kCUDA, 1))), Value(at::Tensor())});
  CHECK(received[0].ivalue().toComplexDouble() == c10::complex<double>(1.5, -2.0));
  CHECK(received[1].ivalue().toDevice() == at::Device(at::kCUDA, 1));
  REQUIRE(received[2].is_tensor());
  CHECK_FALSE(received[2].tensor().defined());
}

TEST_CASE("values that cannot cross are refused") {
  CHECK(encoded_size({Value(c10::IValue(torch::jit::Module("Some")._ivalue()))}).error().code ==
        Errc::ValueNotTransferable);
  const auto future = c10::make_intrusive<c10::ivalue::Future>(c10::TensorType::get());
  CHECK(encoded_size({Value(c10::IValue(future))}).error().code == Errc::ValueNotTransferable);
  CHECK(encoded_size({at::empty({2}, at::TensorOptions().device(at::kMeta))}).error().code ==
        Errc::ValueNotTransferable);
}

TEST_CASE("nesting has a limit on both sides") {
  CHECK(round_trip(Values{Value(nested_lists(32))}).size() == 1);
  CHECK(encoded_size({Value(nested_lists(33))}).error().code == Errc::ValueNotTransferable);
  CHECK(encoded_size({Value(nested_lists(5000))}).error().code == Errc::ValueNotTransferable);

  // A peer that keeps to no limit: what stands before each list, many times over.
  const Values one{Value(nested_lists(1))};
  Slot message(encoded_size(one).value());
  REQUIRE(encode(one, message.bytes()).has_value());
  const auto bytes = message.bytes();
  std::vector<std::byte> hostile(bytes.begin(), bytes.begin() + 8);
  for (int i = 0; i < 100000; ++i) hostile.insert(hostile.end(), bytes.begin() + 8, bytes.begin() + 17);
  hostile.insert(hostile.end(), bytes.begin() + 17, bytes.end());
  CHECK(decode_copy(hostile).error().code == Errc::ProtocolViolation);
}

TEST_CASE("a few bytes do not take all memory") {
  SECTION("by keys that collide in LibTorch's tables, which double until they do not") {
    c10::impl::GenericDict dict(c10::IntType::get(), c10::IntType::get());
    constexpr std::uint64_t keys = 40;
    for (std::uint64_t i = 0; i < keys; ++i) dict.insert(static_cast<std::int64_t>(i), 0);
    const Values values{Value(c10::IValue(dict))};
    Slot slot(encoded_size(values).value());
    REQUIRE(encode(values, slot.bytes()).has_value());
    CHECK(decode_copy(slot.bytes()).has_value());
    constexpr std::size_t first_key = 8 + 1 + 8 + 1;  // Behind two counts and two tags.
    constexpr std::size_t entry = 2 * (1 + 8);
    constexpr std::uint64_t inverse = 17428512612931826493U;  // Of the factor by which the table spreads hashes.
    for (std::uint64_t i = 0; i < keys; ++i) {
      const std::uint64_t key = i * inverse;
      std::memcpy(slot.bytes().data() + first_key + i * entry, &key, sizeof key);
    }
    CHECK(decode_copy(slot.bytes()).error().message.find("collide") != std::string::npos);
  }
  SECTION("by a part of a tensor that shows more than it holds") {
    const Values values{at::quantize_per_tensor(at::ones({1}), 0.1, 3, at::kQUInt8)};
    Slot slot(encoded_size(values).value());
    REQUIRE(encode(values, slot.bytes()).has_value());
    CHECK(decode_copy(slot.bytes()).has_value());
    // Behind count, tag, scale, zero point, order of one dimension and the inner tensor's tag and type: its rank.
    constexpr std::size_t rank = 8 + 1 + 8 + 8 + 8 + 8 + 1 + 1;
    const std::int64_t size = std::int64_t{1} << 39;
    const std::int64_t stride = 0;
    std::memcpy(slot.bytes().data() + rank + 8, &size, sizeof size);
    std::memcpy(slot.bytes().data() + rank + 16, &stride, sizeof stride);
    CHECK(decode_copy(slot.bytes()).error().message.find("not packed") != std::string::npos);
  }
}

TEST_CASE("indices of a sparse tensor that point outside it are refused") {
  const at::Tensor outside = at::tensor({0, 7, 1, 1}, at::kLong).reshape({2, 2});
  const Values coordinates{at::_sparse_coo_tensor_unsafe(outside, at::ones({2}), {2, 3})};
  Slot slot(encoded_size(coordinates).value());
  REQUIRE(encode(coordinates, slot.bytes()).has_value());
  CHECK(decode_copy(slot.bytes()).has_error());

  const Values rows{at::_sparse_csr_tensor_unsafe(at::tensor({0, 1, 2}, at::kLong), at::tensor({0, 70000}, at::kLong),
                                                  at::ones({2}), {2, 3})};
  Slot other(encoded_size(rows).value());
  REQUIRE(encode(rows, other.bytes()).has_value());
  CHECK(decode_copy(other.bytes()).has_error());
}

TEST_CASE("a damaged message gives values or an error, never an access outside it") {
  const Values sent = examples();
  Slot original(encoded_size(sent).value());
  REQUIRE(encode(sent, original.bytes()).has_value());
  std::mt19937 random(5);
  std::size_t refused = 0;
  for (int round = 0; round < 3000; ++round) {
    const std::size_t size = round % 3 == 0 ? random() % original.bytes().size() : original.bytes().size();
    Slot damaged(size);  // Exactly as long as announced: the address sanitizer sees any step outside.
    if (size != 0) std::memcpy(damaged.bytes().data(), original.bytes().data(), size);
    if (size > 8 && round % 5 == 0) {  // A whole figure: lengths and sizes that lie.
      const std::uint64_t word = std::uint64_t{1} << random() % 64;
      std::memcpy(damaged.bytes().data() + random() % std::min<std::size_t>(size - 8, 8192), &word, sizeof word);
    }
    for (int flips = 0; size != 0 && flips < 1 + round % 4; ++flips) {
      damaged.bytes()[random() % std::min<std::size_t>(size, 8192)] ^= static_cast<std::byte>(1U << random() % 8);
    }
    const auto values = decode_copy(damaged.bytes());
    if (!values) {
      ++refused;
      CHECK(values.error().code == Errc::ProtocolViolation);
      continue;
    }
    for (const Value& value : *values) {  // Reading it reaches nothing outside either.
      std::int64_t elements = 0;
      for_each_tensor(value.ivalue(), [&](const at::Tensor& tensor) { elements += tensor.numel(); });
      if (elements < 100000) (void)compare(value, value);
    }
  }
  CHECK(refused > 100);
}
