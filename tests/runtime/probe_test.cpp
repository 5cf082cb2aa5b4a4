// SPDX-License-Identifier: Apache-2.0
#include "runtime/support.hpp"

#include <amp4ec/runtime/probe.hpp>

#include <fstream>
#include <limits>

using namespace amp4ec;
using namespace amp4ec::test;
using namespace std::chrono_literals;

namespace {

/// A file of our own that goes away with its owner.
class TemporaryFile {
 public:
  TemporaryFile() : path_(std::filesystem::temp_directory_path() / ("amp4ec-probe-test-" + std::to_string(getpid()))) {}
  ~TemporaryFile() { std::filesystem::remove(path_); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  void write(const std::string& bytes) const { std::ofstream(path_, std::ios::binary) << bytes; }

 private:
  std::filesystem::path path_;
};

std::string archive_of(const torch::jit::Module& module) {
  std::ostringstream bytes;
  module.save(bytes);
  return bytes.str();
}

const char* sound_program = R"(
    def forward(self, x):
        return torch.relu(x) + 1.0
)";

/// A sound archive whose program never ends, or takes all memory.
const char* endless_program = R"(
    def forward(self, x):
        n = 1
        while n > 0:
            n = n + 1 - int(x.size(0) < 0)
        return torch.relu(x) + float(n)
)";
const char* greedy_program = R"(
    def forward(self, x):
        y = torch.zeros([x.size(0) * 1000, 1000, 1000])
        return torch.relu(x) + y.sum()
)";

}  // namespace

TEST_CASE("a sound file passes and loads") {
  const TemporaryFile file;
  file.write(archive_of(module_from(sound_program)));
  const Values example = random_inputs({3, 4}, 1).front();
  const auto model = load_untrusted(file.path(), &example);
  REQUIRE(model.has_value());
  CHECK(compare(whole_answer(*model, example), Value(at::relu(example.front().tensor()) + 1.0)).bit_equal);
}

TEST_CASE("what a file does to the process that tries it is one error, and the next file is tried all the same") {
  const TemporaryFile file;
  ProbeOptions options;
  options.timeout = 3s;
  Probe probe = Probe::start(options).value();
  const Values example = random_inputs({3, 4}, 1).front();

  file.write(archive_of(module_from(endless_program)));
  const auto endless = probe.check(file.path(), &example);
  REQUIRE(endless.has_error());
  CHECK(endless.error().code == Errc::ModelCorrupt);
  CHECK(endless.error().message.find("given up after 3 s") != std::string::npos);
  CHECK(probe.check(file.path()).has_value());  // Loading alone is harmless.

  file.write(archive_of(module_from(greedy_program)));
  CHECK(probe.check(file.path(), &example).has_error());

  const std::string sound = archive_of(module_from(sound_program));
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{3}, std::size_t{100}, sound.size() / 2, sound.size() - 1}) {
    file.write(sound.substr(0, size));
    const auto cut_off = probe.check(file.path(), &example);
    REQUIRE(cut_off.has_error());
    CHECK((cut_off.error().code == Errc::ModelCorrupt || cut_off.error().code == Errc::NotTorchScript));
    CHECK(cut_off.error().message.find(file.path().string()) != std::string::npos);
  }
  file.write(sound);
  CHECK(probe.check(file.path(), &example).has_value());
}

TEST_CASE("wrong inputs are an error of the inputs") {
  const TemporaryFile file;
  file.write(archive_of(module_from(sound_program)));
  Probe probe = Probe::start().value();
  const Values too_many{at::ones({2}), at::ones({2})};
  const Values none;
  const Values number{Value(c10::IValue(3))};
  for (const Values* inputs : {&too_many, &none, &number}) {
    const auto checked = probe.check(file.path(), inputs);
    REQUIRE(checked.has_error());
    CHECK(checked.error().code == Errc::InputMismatch);
  }
}

TEST_CASE("what is no file is refused at once") {
  Probe probe = Probe::start().value();
  CHECK(probe.check("/no/such/file").error().code == Errc::FileNotFound);
  CHECK(probe.check("/tmp").error().code == Errc::FileNotFound);
  CHECK(probe.check("/dev/null").error().code == Errc::NotTorchScript);
}
