// SPDX-License-Identifier: Apache-2.0
// fuzz_probe [CASES] [SEED]: damages archives of small models in many ways and loads each as an untrusted file.
// fuzz_probe FILE...: tries kept files again, each with the inputs of every sample.
//
// Every case must end in a clear error, or in the very answer that LibTorch gives for the damaged file. Prints a table;
// exits with 1 when an answer differs. A crash or hang of this process is the other way to fail.
#include "model/support.hpp"

#include <amp4ec/model/compare.hpp>
#include <amp4ec/model/segment_executor.hpp>
#include <amp4ec/runtime/probe.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <random>

#include <sys/resource.h>
#include <unistd.h>

using namespace amp4ec;
using namespace amp4ec::test;

namespace {

using Random = std::mt19937_64;

struct Sample {
  std::string archive;
  Values example;
};

std::string archive_of(const torch::jit::Module& module) {
  std::ostringstream bytes;
  module.save(bytes);
  return bytes.str();
}

/// Programs with little weight, so that most damage meets structure.
std::vector<Sample> make_samples() {
  std::vector<Sample> samples;
  torch::jit::Module net("Net");
  net.register_parameter("weight", torch::randn({4, 3, 3, 3}) * 0.3, false);
  net.register_buffer("bias", torch::randn({4}));
  net.define(R"(
    def forward(self, x):
        y = torch.conv2d(x, self.weight, self.bias, [1, 1], [1, 1])
        return torch.flatten(torch.max_pool2d(torch.relu(y), [2, 2], [2, 2]), 1)
  )");
  samples.push_back({archive_of(net), {torch::randn({1, 3, 6, 6})}});

  torch::jit::Module state("State");
  state.register_buffer("seen", torch::zeros({4}));
  state.define(R"(
    def forward(self, x):
        self.seen.add_(x.sum(0))
        parts: Dict[str, Tensor] = {}
        for i in range(3):
            parts[str(i)] = torch.sigmoid(x * float(i + 1))
        total = [parts["0"], parts["1"], parts["2"]]
        return torch.cat(total), self.seen * 2.0
  )");
  samples.push_back({archive_of(state), {torch::randn({3, 4})}});

  torch::jit::Module views("Views");
  views.register_attribute("sizes", c10::ListType::create(c10::IntType::get()), c10::List<std::int64_t>({2, 6}));
  views.register_parameter("table", torch::randn({10, 4}), false);
  views.define(R"(
    def forward(self, x, ids):
        rows = torch.embedding(self.table, ids)
        y = x.reshape(self.sizes) + rows.sum()
        if bool(y.sum() > 0):
            y = torch.tanh(y)
        else:
            y = y.transpose(0, 1)
        return torch.as_strided(y.contiguous(), [2, 2], [2, 1])
  )");
  samples.push_back({archive_of(views), {torch::randn({3, 4}), torch::randint(10, {2, 2}, torch::kLong)}});
  return samples;
}

/// Offsets of what a ZIP archive says about sizes: behind each signature of a header.
std::vector<std::size_t> headers(const std::string& archive) {
  std::vector<std::size_t> found;
  for (const char* signature : {"PK\x01\x02", "PK\x03\x04", "PK\x05\x06", "PK\x06\x06", "PK\x07\x08"}) {
    for (auto at = archive.find(signature, 0, 4); at != std::string::npos; at = archive.find(signature, at + 4, 4))
      found.push_back(at + 4);
  }
  return found;
}

std::string damage(std::string bytes, Random& random) {
  const auto below = [&](std::size_t limit) { return static_cast<std::size_t>(random() % limit); };
  switch (below(6)) {
    case 0: bytes.resize(below(bytes.size())); break;
    case 1:
      for (std::size_t flips = 1 + below(4); flips > 0; --flips)
        bytes[below(bytes.size())] ^= static_cast<char>(1U << below(8));
      break;
    case 2: {  // A size that cannot be.
      const auto at = headers(bytes);
      const std::size_t offset = at[below(at.size())] + below(40);
      const std::uint64_t sizes[] = {0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF};
      const std::uint64_t size = sizes[below(6)];
      const std::size_t width = below(2) == 0 ? 4 : 8;
      if (offset + width <= bytes.size()) std::memcpy(&bytes[offset], &size, width);
      break;
    }
    case 3: {  // A run of one byte.
      const std::size_t from = below(bytes.size());
      const std::size_t count = std::min(bytes.size() - from, 1 + below(64));
      std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(from), count, static_cast<char>(below(256)));
      break;
    }
    case 4: {  // Text or a pickle's number replaced inside the archive.
      const std::size_t from = below(bytes.size());
      for (std::size_t i = from; i < std::min(bytes.size(), from + 200); ++i) {
        if (bytes[i] >= '0' && bytes[i] <= '9') {
          bytes[i] = static_cast<char>('0' + below(10));
          break;
        }
      }
      break;
    }
    default: bytes[below(bytes.size())] = static_cast<char>(below(256));
  }
  return bytes;
}

/// What plain LibTorch says; empty when it throws.
std::optional<Value> libtorch_answer(const std::filesystem::path& file, const Values& example) try {
  torch::jit::Module module = torch::jit::load(file.string());
  module.eval();
  std::vector<c10::IValue> stack;
  for (const Value& value : example) stack.push_back(value.is_tensor() ? value.tensor().clone() : value.ivalue());
  const torch::NoGradGuard no_gradients;
  const torch::jit::GraphOptimizerEnabledGuard no_optimizer(false);
  return Value(module.forward(stack));
} catch (const std::exception&) {
  return std::nullopt;
}

std::string describe(const Error& error) {
  if (error.code == Errc::ProtocolViolation || error.message.empty())
    return "DIFFERENT: an unclear error: " + error.what();
  const bool ended = error.message.find("ends the process") != std::string::npos;
  const bool late = error.message.find("given up") != std::string::npos;
  return fmt::format("error: {}{}", to_string(error.code),
                     ended  ? ", LibTorch crashed"
                     : late ? ", LibTorch did not return"
                            : "");
}

std::string try_file(Probe& probe, const std::filesystem::path& file, const Sample& sample) {
  if (const auto sound = probe.check(file, &sample.example); !sound) return describe(sound.error());
  const auto model = Model::load(file);
  if (!model) return "DIFFERENT: the probe passed what does not load";
  const auto expected = libtorch_answer(file, sample.example);
  const auto reference = model->reference_executor();
  const auto whole = model->segment(0, model->layer_count() - 1);
  if (!expected || !reference || !whole) return "DIFFERENT: no answer";
  auto executor = make_executor(*whole, Form::Plain);
  if (!executor) return "DIFFERENT: no executor";
  const auto answer = (*executor)->run(model->check_inputs(sample.example).value());
  if (!answer) return "DIFFERENT: no answer";
  return compare(answer->front(), *expected).bit_equal ? "same answer as LibTorch" : "DIFFERENT: another answer";
}

int try_damaged_files(Probe& probe, std::size_t cases, Random random) {
  const auto samples = make_samples();
  const auto file = std::filesystem::temp_directory_path() / fmt::format("amp4ec-fuzz-{}.pt", getpid());
  std::map<std::string, std::size_t> outcomes;
  bool good = true;
  const auto start = std::chrono::steady_clock::now();
  for (std::size_t i = 0; i < cases; ++i) {
    const Sample& sample = samples[i % samples.size()];
    const std::string bytes = i < samples.size() ? sample.archive : damage(sample.archive, random);
    std::ofstream(file, std::ios::binary) << bytes;  // Stays when this process crashes.
    const std::string outcome = try_file(probe, file, sample);
    const bool bad = outcome.starts_with("DIFFERENT") || (i < samples.size() && outcome.starts_with("error"));
    if (bad) {
      const auto kept = fmt::format("{}.{}", file.string(), i);
      std::ofstream(kept, std::ios::binary) << bytes;
      fmt::print("case {}: {}; kept as {}\n", i, outcome, kept);
      good = false;
    }
    ++outcomes[outcome];
  }
  std::filesystem::remove(file);
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  for (const auto& [outcome, count] : outcomes) fmt::print("{:>6}  {}\n", count, outcome);
  fmt::print("{} cases in {:.0f} s; this process peaked at {} MiB\n", cases,
             std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), usage.ru_maxrss / 1024);
  return good ? 0 : 1;
}

int try_kept_files(Probe& probe, const std::vector<std::filesystem::path>& files) {
  bool good = true;
  for (const auto& file : files) {
    for (const Sample& sample : make_samples()) {
      const std::string outcome = try_file(probe, file, sample);
      fmt::print("{}: {}\n", file.string(), outcome);
      good = good && !outcome.starts_with("DIFFERENT");
    }
  }
  return good ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  disable_fuser_in_this_process();
  torch::manual_seed(7);
  ProbeOptions options;
  options.timeout = std::chrono::seconds(20);
  auto probe = Probe::start(options);
  if (!probe) {
    fmt::print(stderr, "{}\n", probe.error().what());
    return 2;
  }
  if (argc > 1 && std::filesystem::exists(argv[1])) return try_kept_files(*probe, {argv + 1, argv + argc});
  const std::size_t cases = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 300;
  return try_damaged_files(*probe, cases, Random(argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1));
}
