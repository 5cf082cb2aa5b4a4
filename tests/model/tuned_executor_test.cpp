// SPDX-License-Identifier: Apache-2.0
#include "model/tuned_executor.hpp"

#include "model/in_place_executor.hpp"
#include "model/optimize.hpp"
#include "model/split_check.hpp"
#include "model/support.hpp"
#include "support/catch.hpp"

#include <amp4ec/model/compare.hpp>

#include <ATen/Parallel.h>

#include <array>
#include <chrono>
#include <cstring>
#include <ctime>
#include <memory>
#include <new>
#include <span>
#include <stdexcept>
#include <string_view>
#include <thread>

using namespace amp4ec;
using namespace amp4ec::test;
using namespace std::chrono_literals;
using amp4ec::detail::Candidate;
using amp4ec::detail::TunedExecutor;

namespace {

std::chrono::nanoseconds cpu_time() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

/// Doubles its input, with an error; works for a while, after a pause.
class Fake final : public SegmentExecutor {
 public:
  Fake(std::chrono::milliseconds work, double error, std::chrono::milliseconds pause = {})
      : work_(work), error_(error), pause_(pause) {}
  Result<Values> run(const Values& inputs) override {
    std::this_thread::sleep_for(pause_);
    for (const auto start = cpu_time(); cpu_time() - start < work_;) {
    }
    if (inputs.front().tensor().numel() == 0) return Error{Errc::ExecutionFailed, "nothing to double"};
    return Values{Value(inputs.front().tensor() * (2.0 + error_))};
  }

 private:
  std::chrono::milliseconds work_;
  double error_;
  std::chrono::milliseconds pause_;
};

Candidate fake(const char* name, std::chrono::milliseconds work, double error, std::chrono::milliseconds pause = {}) {
  return {name, [=] { return std::make_unique<Fake>(work, error, pause); }};
}

/// LibTorch's number of threads, for as long as it lives.
class Threads {
 public:
  explicit Threads(int count) { at::set_num_threads(count); }
  ~Threads() { at::set_num_threads(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  const int before_ = at::get_num_threads();
};

const Values four{Value(at::full({3}, 4.0))};

std::string chosen_of(std::vector<Candidate> candidates) {
  TunedExecutor executor(std::make_unique<Fake>(10ms, 0), std::move(candidates));
  for (int call = 0; call < 4; ++call) {
    const auto answer = executor.run(four);
    REQUIRE(answer.has_value());
    CHECK(compare(answer->front(), Value(at::full({3}, 8.0))).relative_error <= 1e-4);
  }
  return executor.chosen();
}

}  // namespace

TEST_CASE("the fastest executor that answers equally is used") {
  CHECK(chosen_of({fake("fast", 4ms, 0), fake("faster", 0ms, 0)}) == "faster");
  CHECK(chosen_of({fake("faster", 0ms, 0), fake("fast", 4ms, 0)}) == "faster");
  CHECK(chosen_of({fake("slow", 30ms, 0), fake("fast", 1ms, 0)}) == "fast");
  CHECK(chosen_of({fake("slow", 30ms, 0)}) == "plain");
  CHECK(chosen_of({fake("nearly equal", 1ms, 2e-5)}) == "nearly equal");
  CHECK(chosen_of({fake("wrong", 0ms, 1e-3), fake("right", 1ms, 0)}) == "right");
  CHECK(chosen_of({fake("wrong", 0ms, 1e-3)}) == "plain");
}

TEST_CASE("the pauses of a throttled node do not count in the choice of an executor") {
  const Threads one(1);
  CHECK(chosen_of({fake("fast, held back", 1ms, 0, 40ms)}) == "fast, held back");
  CHECK(chosen_of({fake("slow", 30ms, 0)}) == "plain");
}

TEST_CASE("an executor that cannot be made or does not run is passed over") {
  const Candidate impossible{
      "impossible", []() -> std::unique_ptr<SegmentExecutor> { throw std::runtime_error("no such operator"); }};
  CHECK(chosen_of({impossible, fake("fast", 1ms, 0)}) == "fast");
  CHECK(chosen_of({impossible}) == "plain");
}

TEST_CASE("inputs on which the model fails do not end the search") {
  TunedExecutor executor(std::make_unique<Fake>(10ms, 0), {fake("fast", 1ms, 0)});
  CHECK(executor.run({Value(at::empty({0}))}).error().message == "nothing to double");
  CHECK(executor.run(four).has_value());
  CHECK(executor.chosen() == "fast");
}

TEST_CASE("segments with chance or side effects are run once for each call") {
  for (const std::string last : {"y * torch.rand([3, 4])", "torch.dropout(y, 0.5, True)"}) {
    const Model model = Model::from_module(module_from("def forward(self, x):\n    y = torch.sigmoid(x) + 1.0\n"
                                                       "    return " +
                                                       last + "\n"))
                            .value();
    const auto executor = make_executor(model.segment(0, model.layer_count() - 1).value(), Form::Optimized).value();
    const Values input = random_inputs({3, 4}, 1).front();
    torch::manual_seed(5);
    const Value first = executor->run(input).value().front();
    const Value second = executor->run(input).value().front();
    torch::manual_seed(5);
    CHECK(compare(run_whole(model, input), first).bit_equal);
    CHECK(compare(run_whole(model, input), second).bit_equal);
  }
}

TEST_CASE("operators over padded channels are right for every image of a batch") {
  // Nine channels: oneDNN pads them to sixteen.
  for (const std::string op : {"torch.hardswish(y)", "torch.hardsigmoid(y)", "torch.hardtanh(y, -0.5, 0.5)",
                               "torch.relu6(y)", "torch.clamp(y, -0.3, 0.4)"}) {
    torch::jit::Module module("Padded");
    torch::manual_seed(3);
    module.register_parameter("weight", at::randn({9, 3, 3, 3}), false);
    module.register_parameter("bias", at::randn({9}), false);
    module.define(
        "def forward(self, x):\n    y = torch.conv2d(x, self.weight, self.bias, [1, 1], [1, 1])\n    return " + op +
        "\n");
    const Model model = Model::from_module(module).value();
    const Segment whole = model.segment(0, model.layer_count() - 1).value();
    torch::jit::Module optimized = amp4ec::detail::optimize_for_inference(whole.module().clone(true));
    for (const Values& input : random_inputs({3, 3, 8, 8}, 4)) {
      INFO(op);
      const torch::NoGradGuard no_gradients;
      const Value answer(optimized.forward({input.front().tensor()}));
      CHECK(compare(answer, run_whole(model, input)).relative_error <= 1e-5);
    }
  }
}

TEST_CASE("an executor in place uses the weights where they lie, in every form that it is told") {
  const Model model = Model::from_module(module_from(R"(
    def forward(self, x):
        w = torch.arange(4096).reshape([64, 64]).float() * 0.001 + 1.0
        return torch.relu(torch.mm(x, w)) + 1.0
  )"))
                          .value();
  const Segment whole = model.segment(0, model.layer_count() - 1).value();
  const std::string archive = whole.archive().value();
  const auto inputs = random_inputs({2, 64}, 8);
  for (const std::string chosen : {"", "plain", "frozen", "optimized for inference", "unheard of"}) {
    for (const Form form : {Form::Plain, Form::Optimized}) {
      // As mmap would align it.
      const std::shared_ptr<std::byte> place(new (std::align_val_t{4096}) std::byte[archive.size()],
                                             [](std::byte* p) { ::operator delete[](p, std::align_val_t{4096}); });
      std::memcpy(place.get(), archive.data(), archive.size());
      const std::span bytes(place.get(), archive.size());
      const auto executor =
          amp4ec::detail::make_executor_in_place(bytes, place, whole.output_count(), form, chosen).value();
      for (const Values& input : inputs) {
        CHECK(compare(executor->run(input).value().front(), run_whole(model, input)).relative_error <= 1e-5);
      }
      const bool searched = form == Form::Optimized && (chosen.empty() || chosen == "unheard of");
      CHECK(amp4ec::detail::chosen_form(*executor).empty() != searched);
      if (form != Form::Plain) continue;
      CHECK(place.use_count() > 1);
      // 1.001, the second weight, as it lies in the archive.
      const float second = 0.001F + 1.0F;
      std::array<char, sizeof second> pattern{};
      std::memcpy(pattern.data(), &second, sizeof second);
      const auto at = archive.find(std::string_view(pattern.data(), pattern.size()));
      REQUIRE(at != std::string::npos);
      std::memset(bytes.data() + at, 0, sizeof second);
      CHECK(compare(executor->run(inputs.front()).value().front(), run_whole(model, inputs.front())).relative_error >
            1e-4);
    }
  }
}

TEST_CASE("a segment with an assertion is tuned") {
  const Model model = Model::from_module(module_from(R"(
    def forward(self, x):
        assert x.dim() == 2
        return torch.relu(x) + 1.0
  )"))
                          .value();
  const auto executor = make_executor(model.segment(0, model.layer_count() - 1).value(), Form::Optimized).value();
  const Values input = random_inputs({3, 4}, 1).front();
  CHECK(compare(executor->run(input).value().front(), run_whole(model, input)).relative_error <= 1e-5);
  CHECK_FALSE(amp4ec::detail::chosen_form(*executor).empty());
  CHECK(executor->run({Value(at::ones({3}))}).error().code == Errc::ExecutionFailed);
}
