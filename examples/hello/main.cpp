// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/amp4ec.hpp>

#include <ATen/ATen.h>

#include <iostream>

using namespace amp4ec::literals;

int main(int argc, char** argv) try {
  const amp4ec::Values example{at::rand({1, 3, 224, 224})};
  const auto model = amp4ec::Model::load(argc > 1 ? argv[1] : "mobilenet_v2.pt").value();
  auto runtime =
      amp4ec::Runtime::create({{"high", 1.0_cpu, 1_GiB}, {"medium", 0.6_cpu, 512_MiB}, {"low", 0.4_cpu, 512_MiB}})
          .value();
  const auto profile = runtime.profile(model, example).value();                    // seconds; once, can be saved
  const auto plan = amp4ec::Partitioner{}.plan(profile, runtime.nodes()).value();  // who runs which layers
  auto session = runtime.open(model, plan, example).value();                       // workers are up, warm and checked

  const at::Tensor answer = session.infer(example).value().tensor();
  std::cout << "class " << answer.argmax().item<int>() << ", " << session.stages().size() << " workers\n";
} catch (const amp4ec::Exception& problem) {  // thrown by value() on an error
  std::cerr << problem.what() << "\n";
  return 1;
}
