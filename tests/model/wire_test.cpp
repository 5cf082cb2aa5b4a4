// SPDX-License-Identifier: Apache-2.0
#include "model/wire.hpp"
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

Values examples() {
  c10::impl::GenericDict dict(c10::StringType::get(), c10::TensorType::get());
  dict.insert(std::string("weight"), at::arange(6).reshape({2, 3}));
  c10::List<std::int64_t> empty;
  return {at::randn({2, 3, 4}),
          at::randn({2, 3, 4, 5}).contiguous(at::MemoryFormat::ChannelsLast),
          at::randn({8, 8}).slice(0, 1, 7, 2),
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
          Value(),
          Value(c10::IValue(7)),
          Value(c10::IValue(2.5)),
          Value(c10::IValue(true)),
          Value(c10::IValue("text")),
          Value(c10::IValue(std::vector<std::int64_t>{1, 2, 3})),
          Value(c10::IValue(empty)),
          Value(c10::IValue(std::vector<at::Tensor>{at::ones({2}), at::zeros({3})})),
          Value(c10::IValue(std::make_tuple(at::ones({2}), std::int64_t{3}, std::string("x")))),
          Value(c10::IValue(dict))};
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
      CHECK(copied[i].ivalue().type()->annotation_str() == sent[i].ivalue().type()->annotation_str());
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

TEST_CASE("values that cannot cross are refused") {
  CHECK(encoded_size({Value(c10::IValue(at::ones({2, 2}).to_sparse()))}).error().code == Errc::ValueNotTransferable);
  CHECK(encoded_size({Value(c10::IValue(at::Device(at::kCPU)))}).error().code == Errc::ValueNotTransferable);
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
    for (int flips = 0; size != 0 && flips < 1 + round % 4; ++flips) {
      damaged.bytes()[random() % std::min<std::size_t>(size, 2048)] ^= static_cast<std::byte>(1U << random() % 8);
    }
    const auto values = decode_copy(damaged.bytes());
    if (!values) {
      ++refused;
      CHECK(values.error().code == Errc::ProtocolViolation);
    }
  }
  CHECK(refused > 100);
}
