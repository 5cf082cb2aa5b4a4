// SPDX-License-Identifier: Apache-2.0
#include "zoo/zoo.hpp"

#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/passes/freeze_module.h>
#include <torch/csrc/jit/passes/remove_mutation.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/serialization/import.h>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>

#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.hpp"  // last: LibTorch brings glog, whose CHECK would take the place of Catch2's

namespace {

using amp4ec::make_zoo_model;
using amp4ec::save_zoo_model;
using torch::jit::Module;

/// A folder of its own that goes with the test.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "zoo_test_XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::ptrdiff_t entries() const {
    return std::distance(std::filesystem::directory_iterator(path_), std::filesystem::directory_iterator());
  }

 private:
  std::filesystem::path path_;
};

/// The model with seed 1, built once for all tests that only look at it.
Module& shared_model(const std::string& name) {
  static std::map<std::string, Module> models;
  const auto known = models.find(name);
  return known != models.end() ? known->second : models.emplace(name, make_zoo_model(name, 1).value()).first->second;
}

std::vector<std::int64_t> shape_of(const std::string& input_spec) {
  std::vector<std::int64_t> shape;
  for (const char* next = input_spec.c_str();; ++next) {
    char* end = nullptr;
    shape.push_back(std::strtoll(next, &end, 10));
    next = end;
    if (*next == '\0') return shape;
  }
}

at::Tensor random_input(const amp4ec::ZooEntry& entry, std::uint64_t seed) {
  return at::randn(shape_of(entry.input_specs.at(0)), at::detail::createCPUGenerator(seed), at::kFloat);
}

at::Tensor run(Module& module, const at::Tensor& input) {
  const at::NoGradGuard no_grad;
  return module.forward({input}).toTensor();
}

std::int64_t parameter_count(const Module& module) {
  std::int64_t count = 0;
  for (const at::Tensor& parameter : module.parameters()) count += parameter.numel();
  return count;
}

std::vector<std::string> leaf_modules(const Module& module) {
  std::vector<std::string> leaves;
  for (const auto& child : module.named_modules()) {
    if (child.value.children().size() == 0) leaves.push_back(child.name);
  }
  return leaves;
}

/// Parameters and buffers.
std::vector<at::Tensor> tensors_of(const Module& module) {
  std::vector<at::Tensor> tensors;
  for (const at::Tensor& parameter : module.parameters()) tensors.push_back(parameter);
  for (const at::Tensor& buffer : module.buffers()) tensors.push_back(buffer);
  return tensors;
}

bool bit_identical(const Module& left, const Module& right) {
  const auto a = tensors_of(left);
  const auto b = tensors_of(right);
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!at::equal(a[i], b[i])) return false;
  }
  return true;
}

struct OperatorOutput {
  std::string name;
  at::Tensor value;
};

/// Runs the frozen model and hands out what every operator at its top level makes, as one call of the model sees it.
std::vector<OperatorOutput> every_operator_output(const Module& module, const at::Tensor& input) {
  Module frozen = torch::jit::freeze_module(module);
  const auto graph = frozen.get_method("forward").graph()->copy();
  torch::jit::RemoveTensorMutation(graph);
  std::vector<std::string> names;
  std::vector<torch::jit::Value*> values;
  for (torch::jit::Node* node : graph->nodes()) {
    if (!node->kind().is_aten()) continue;
    for (torch::jit::Value* output : node->outputs()) {
      if (!output->type()->isSubtypeOf(*c10::TensorType::get())) continue;
      names.push_back(node->kind().toQualString() + (" %" + output->debugName()));
      values.push_back(output);
    }
  }
  torch::jit::Node* tuple = graph->insertNode(graph->createTuple(values));
  graph->eraseOutput(0);
  graph->registerOutput(tuple->output());

  torch::jit::GraphExecutor executor(graph, "every_operator_output");
  torch::jit::Stack stack{frozen._ivalue(), input};
  const at::NoGradGuard no_grad;
  executor.run(stack);
  const auto results = stack.at(0).toTuple();
  std::vector<OperatorOutput> outputs;
  for (std::size_t i = 0; i < names.size(); ++i) outputs.push_back({names[i], results->elements()[i].toTensor()});
  return outputs;
}

TEST_CASE("The zoo has torchvision's sizes", "[zoo]") {
  const auto [name, parameters, leaves] = GENERATE(table<const char*, std::int64_t, std::size_t>({
      {"mobilenet_v2", 3504872, 141},
      {"resnet18", 11689512, 52},
      {"resnet50", 25557032, 126},
  }));
  CAPTURE(name);
  CHECK(parameter_count(shared_model(name)) == parameters);
  CHECK(leaf_modules(shared_model(name)).size() == leaves);
}

TEST_CASE("MobileNetV2's leaf modules have torchvision's paths, in its order", "[zoo]") {
  const auto leaves = leaf_modules(shared_model("mobilenet_v2"));
  REQUIRE(leaves.size() == 141);
  const std::vector<std::string> first = {"features.0.0",        "features.0.1",        "features.0.2",
                                          "features.1.conv.0.0", "features.1.conv.0.1", "features.1.conv.0.2",
                                          "features.1.conv.1",   "features.1.conv.2",   "features.2.conv.0.0"};
  const std::vector<std::string> last = {"features.18.0", "features.18.1", "features.18.2", "classifier.0",
                                         "classifier.1"};
  CHECK(std::vector<std::string>(leaves.begin(), leaves.begin() + 9) == first);
  CHECK(std::vector<std::string>(leaves.end() - 5, leaves.end()) == last);
}

TEST_CASE("The vision transformer has DeiT-Ti's size", "[zoo]") {
  CHECK(parameter_count(shared_model("vit_tiny")) == 5717416);
}

TEST_CASE("The LSTM keeps one aten::lstm a layer after freezing", "[zoo]") {
  const auto graph = torch::jit::freeze_module(shared_model("lstm")).get_method("forward").graph();
  std::size_t count = 0;
  for (const torch::jit::Node* node : graph->nodes()) {
    if (node->kind() == c10::Symbol::fromQualString("aten::lstm")) ++count;
  }
  CHECK(count == 2);
}

TEST_CASE("Every model is in evaluation mode, and every parameter requires gradients", "[zoo]") {
  for (const auto& entry : amp4ec::zoo_entries()) {
    CAPTURE(entry.name);
    const Module& model = shared_model(entry.name);
    for (const Module& module : model.modules()) CHECK_FALSE(module.is_training());
    for (const at::Tensor& parameter : model.parameters()) CHECK(parameter.requires_grad());
  }
}

TEST_CASE("Activations are healthy at every operator, and outputs tell inputs apart", "[zoo]") {
  for (const auto& entry : amp4ec::zoo_entries()) {
    for (const bool second_seed : {false, true}) {
      CAPTURE(entry.name, second_seed);
      Module model = second_seed ? make_zoo_model(entry.name, 2).value() : shared_model(entry.name);
      const at::Tensor first = random_input(entry, 10);
      for (const OperatorOutput& output : every_operator_output(model, first)) {
        CAPTURE(output.name);
        CHECK(at::isfinite(output.value).all().item<bool>());
        // A row of a softmax adds up to 1, whatever its input; the state that an LSTM starts from is zero.
        if (output.name.starts_with("aten::softmax") || output.name.starts_with("aten::zeros")) continue;
        const auto deviation = output.value.std().item<double>();
        CHECK(deviation > 0.1);
        CHECK(deviation < 10);
        // Statistics that were measured bring every batch norm to the scale of its weights, which are near 1.
        if (output.name.starts_with("aten::batch_norm")) CHECK(deviation == Approx(1).margin(0.3));
      }
      const at::Tensor answer = run(model, first);
      const at::Tensor other = run(model, random_input(entry, 11));
      CHECK((answer - other).norm().item<double>() / answer.norm().item<double>() > 0.05);
    }
  }
}

TEST_CASE("The seed alone decides the weights", "[zoo]") {
  for (const auto& entry : amp4ec::zoo_entries()) {
    CAPTURE(entry.name);
    const Module& model = shared_model(entry.name);
    at::randn({16});  // the global generator moves on, and must not matter
    CHECK(bit_identical(model, make_zoo_model(entry.name, 1).value()));
    CHECK_FALSE(bit_identical(model, make_zoo_model(entry.name, 2).value()));
  }
}

TEST_CASE("The number of threads does not change the weights", "[zoo]") {
  const int threads = at::get_num_threads();
  for (const int count : {1, 2}) {
    at::set_num_threads(count);
    CHECK(bit_identical(shared_model("mobilenet_v2"), make_zoo_model("mobilenet_v2", 1).value()));
  }
  at::set_num_threads(threads);
}

TEST_CASE("Building leaves the global generator and the number of threads alone", "[zoo]") {
  const at::Generator global = at::detail::getDefaultCPUGenerator();
  const at::Tensor before = global.get_state();
  const int threads = at::get_num_threads();
  for (const char* name : {"mobilenet_v2", "vit_tiny", "lstm"}) {
    CAPTURE(name);
    REQUIRE(make_zoo_model(name, 3).has_value());
    CHECK(at::equal(before, global.get_state()));
    CHECK(at::get_num_threads() == threads);
  }
}

TEST_CASE("A saved model answers as the one in memory does", "[zoo]") {
  const TemporaryFolder folder;
  for (const auto& entry : amp4ec::zoo_entries()) {
    CAPTURE(entry.name);
    const auto file = folder.path() / (entry.name + ".pt");
    REQUIRE(save_zoo_model(entry.name, 1, file).has_value());
    Module loaded = torch::jit::load(file.string());
    Module& made = shared_model(entry.name);
    CHECK(bit_identical(made, loaded));
    CHECK(leaf_modules(made) == leaf_modules(loaded));
    for (std::uint64_t call = 0; call < 4; ++call) {
      const at::Tensor input = random_input(entry, 20 + call);
      CHECK(at::equal(run(made, input), run(loaded, input)));
    }
  }
  CHECK(folder.entries() == static_cast<std::ptrdiff_t>(amp4ec::zoo_entries().size()));
}

TEST_CASE("Saving twice with one seed writes the same bytes", "[zoo]") {
  const TemporaryFolder folder;
  const auto bytes = [&](const char* file) {
    REQUIRE(save_zoo_model("lstm", 5, folder.path() / file).has_value());
    std::ifstream stream(folder.path() / file, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(stream), {});
  };
  CHECK(bytes("model.pt") == bytes("model.pt"));
}

TEST_CASE("An unknown name is refused with the known ones", "[zoo]") {
  const auto model = make_zoo_model("resnet19", 1);
  REQUIRE(model.has_error());
  CHECK(model.error().code == amp4ec::Errc::InvalidArgument);
  CHECK(model.error().message.find("'resnet19'") != std::string::npos);
  for (const auto& entry : amp4ec::zoo_entries()) CHECK(model.error().message.find(entry.name) != std::string::npos);
}

TEST_CASE("A path that cannot be written gives an error that names it", "[zoo]") {
  const TemporaryFolder folder;
  const auto file = GENERATE(as<std::string>{}, "missing/lstm.pt", "");
  const auto destination = folder.path() / file;
  const auto saved = save_zoo_model("lstm", 1, destination);
  REQUIRE(saved.has_error());
  CHECK(saved.error().code == amp4ec::Errc::SystemCall);
  CHECK(saved.error().message.find(destination.string()) != std::string::npos);
  CHECK(saved.error().message.find("errno") != std::string::npos);
  CHECK(folder.entries() == 0);
}

TEST_CASE("When the disk is full, the error says so and the old file stays", "[zoo]") {
  const TemporaryFolder folder;
  const auto file = folder.path() / "lstm.pt";
  std::ofstream(file) << "old";

  // A limit on file size stands in for the full disk: the write that crosses it fails half way, and its signal must not
  // end this process.
  rlimit old_limit{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &old_limit) == 0);
  const rlimit limit{.rlim_cur = 100'000, .rlim_max = old_limit.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
  const auto saved = save_zoo_model("lstm", 1, file);
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &old_limit) == 0);

  REQUIRE(saved.has_error());
  CHECK(saved.error().code == amp4ec::Errc::SystemCall);
  CHECK(saved.error().message.find("write failed: File too large") != std::string::npos);
  std::string content;
  std::ifstream(file) >> content;
  CHECK(content == "old");
  CHECK(folder.entries() == 1);
}

}  // namespace
