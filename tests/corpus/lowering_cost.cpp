// SPDX-License-Identifier: Apache-2.0
// lowering_cost FILE [OPERATOR_LIBRARY...]: what lowering a model and taking three segments out of it costs, without
// loading and running.
//
// Prints one JSON object: seconds for each, and the peak of memory above that of a process with LibTorch loaded, which
// includes the model's weights, but not what reading the file takes for a moment. One model a process.
#include <amp4ec/model/model.hpp>
#include <amp4ec/model/operator_library.hpp>

#include <fmt/format.h>

#include <ATen/ATen.h>
#include <torch/csrc/jit/serialization/import.h>

#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <span>
#include <string>

using namespace amp4ec;

namespace {

std::uint64_t from_status(const char* key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key)) return std::strtoull(line.c_str() + std::string_view(key).size(), nullptr, 10) * 1024;
  }
  return 0;
}

/// Lets the peak of memory, "VmHWM", begin again at what is resident (proc(5), clear_refs).
void restart_peak() {
  malloc_trim(0);
  std::ofstream("/proc/self/clear_refs") << 5;
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Three segments of as many layers as the valid cuts allow, each as the bytes of an archive.
Result<std::uint64_t> extract(const Model& model) {
  std::uint64_t bytes = 0;
  std::size_t first = 0;
  const std::size_t layers = model.layer_count();
  for (std::size_t part = 1; first < layers; ++part) {
    for (std::size_t last = part >= 3 ? layers - 1 : std::max(first, part * layers / 3);; ++last) {
      const auto segment = model.segment(first, last);
      if (!segment && segment.error().code == Errc::CutRejected) continue;
      if (!segment) return segment.error();
      const auto archive = segment->archive();
      if (!archive) return archive.error();
      bytes += archive->size();
      first = last + 1;
      break;
    }
  }
  return bytes;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 2) {
    fmt::print(stderr, "usage: lowering_cost FILE [OPERATOR_LIBRARY...]\n");
    return 2;
  }
  for (const char* library : std::span(argv + 2, argv + argc)) {
    if (const auto loaded = load_operator_library(library); !loaded) {
      fmt::print(stderr, "{}\n", loaded.error().what());
      return 2;
    }
  }
  (void)at::ones({8, 8}).mm(at::ones({8, 8}));  // LibTorch is loaded and has worked.
  const std::uint64_t base = from_status("VmRSS:");
  auto module = torch::jit::load(argv[1]);
  std::uint64_t weights = 0;
  for (const at::Tensor& parameter : module.parameters()) weights += parameter.nbytes();
  for (const at::Tensor& buffer : module.buffers()) weights += buffer.nbytes();
  restart_peak();
  auto start = std::chrono::steady_clock::now();
  const auto model = Model::adopt(module);
  if (!model) {
    fmt::print(stderr, "{}\n", model.error().what());
    return 1;
  }
  const double lowering = seconds_since(start);
  start = std::chrono::steady_clock::now();
  const auto bytes = extract(*model);
  if (!bytes) {
    fmt::print(stderr, "{}\n", bytes.error().what());
    return 1;
  }
  const double extraction = seconds_since(start);
  fmt::print(R"({{"layers":{},"weight_bytes":{},"archive_bytes":{},"lower_seconds":{:.3f},"extract_seconds":{:.3f},)"
             R"("peak_bytes":{}}})"
             "\n",
             model->layer_count(), weights, *bytes, lowering, extraction, from_status("VmHWM:") - base);
  return 0;
} catch (const std::exception& exception) {
  fmt::print(stderr, "{}\n", exception.what());
  return 1;
}
