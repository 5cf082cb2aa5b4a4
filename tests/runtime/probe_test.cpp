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

/// The text once exchanged for another of the same length.
std::string exchanged(std::string archive, std::string_view text, std::string_view by) {
  const auto at = archive.find(text);
  REQUIRE(at != std::string::npos);
  REQUIRE(text.size() == by.size());
  return archive.replace(at, text.size(), by);
}

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

TEST_CASE("a tensor that reaches beyond its data, or has none, is refused before it runs") {
  torch::jit::Module module("Counter");
  module.register_buffer("seen", torch::randn({4}));
  module.define(R"(
    def forward(self, x):
        self.seen.add_(x.sum(0))
        return self.seen * 2.0
  )");
  const std::string sound = archive_of(module);
  const TemporaryFile file;
  Probe probe = Probe::start().value();
  const auto refused = [&](const std::string& archive, const char* why) {
    file.write(archive);
    const auto checked = probe.check(file.path());
    REQUIRE(checked.has_error());
    CHECK(checked.error().code == Errc::ModelCorrupt);
    INFO(checked.error().message);
    CHECK(checked.error().message.find(why) != std::string::npos);
    CHECK(checked.error().message.find("tensor 'seen'") != std::string::npos);
  };
  // In pickle's opcodes: K is a number of one byte, t ends a tuple, Q a storage, ( begins a tuple.
  const std::string longer = exchanged(sound, std::string("K\x04t(K\x01t", 7), std::string("K\x40t(K\x01t", 7));
  refused(exchanged(sound, "K\x04tQ", "K\x40tQ"), "claims 256 bytes, the file holds 16");
  refused(longer, "need 256 bytes, the file holds 16");
  refused(exchanged(longer, "K\x04tQ", "K\x40tQ"), "claims 256 bytes, the file holds 16");  // So does the storage.
  refused(exchanged(sound, std::string("K\x04t(K\x01t", 7), std::string("K\x04t(K\x02t", 7)), "need 28 bytes");

  std::string empty = sound;
  const auto name = empty.rfind("/data/0");
  const auto entry = empty.rfind("PK\x01\x02", name);
  REQUIRE(entry != std::string::npos);
  empty[entry + 38] = 0x10;  // Its attributes: a folder.
  refused(empty, "holds no data");

  torch::jit::Module ones("Ones");
  ones.register_buffer("mask", torch::full({3}, -1, torch::kLong));
  ones.define("def forward(self, x):\n    return x + self.mask.sum()\n");
  file.write(archive_of(ones));
  CHECK(probe.check(file.path()).has_value());
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
