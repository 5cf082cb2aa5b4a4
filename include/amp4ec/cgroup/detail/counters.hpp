// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/cgroup/detail/file.hpp>
#include <amp4ec/cgroup/hierarchy.hpp>
#include <amp4ec/cgroup/kernel_files.hpp>
#include <amp4ec/cgroup/usage.hpp>

#include <array>
#include <cerrno>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

namespace amp4ec::cgroup::detail {

/// One kernel file, kept open. `parse` reads it anew from the start, about 1 us, without allocation.
class CounterFile {
 public:
  CounterFile() = default;
  /// A file that this kernel does not have stays closed, and reads as nothing; so does one that it shows but does not
  /// serve (EOPNOTSUPP: pressure on a machine that was started with psi=0).
  static Result<CounterFile> open(const std::string& path) {
    CounterFile file;
    file.descriptor_ = Descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.descriptor_ && errno != ENOENT && errno != EOPNOTSUPP) return system_error(errno, "opening " + path);
    return file;
  }

  template <class Parser>
  using Parsed = std::optional<typename std::invoke_result_t<Parser, std::string_view>::value_type>;

  template <class Parser>
  Result<Parsed<Parser>> parse(Parser parser) const {
    if (!descriptor_) return Parsed<Parser>{};
    std::array<char, 16384> buffer;  // the longest, memory.stat, has about 2 KiB
    ssize_t count = 0;
    do {
      count = ::pread(descriptor_.get(), buffer.data(), buffer.size(), 0);
    } while (count < 0 && errno == EINTR);
    if (count < 0 && errno == EOPNOTSUPP) return Parsed<Parser>{};
    if (count < 0) return system_error(errno, "reading the counters of a group (ENODEV: it has been removed)");
    const auto value = parser(std::string_view(buffer.data(), static_cast<std::size_t>(count)));
    if (!value) return value.error();
    return Parsed<Parser>{*value};
  }

 private:
  Descriptor descriptor_;
};

/// The counters of one group, spread over the trees that its controllers live in.
class Counters {
 public:
  Result<void> open(const Tree& tree, const std::string& group) {
    const auto folder = tree.folder(group);
    const auto keep = [&](CounterFile& file, std::string_view name) -> Result<void> {
      auto opened = CounterFile::open(join(folder, name));
      if (!opened) return opened.error();
      file = std::move(*opened);
      return {};
    };
    const bool v2 = tree.version == 2;
    using Entry = std::pair<CounterFile*, std::string_view>;
    std::vector<Entry> wanted;
    if (tree.has(Controller::Cpu) || (v2 && tree.has(Controller::CpuAccounting))) {
      wanted.push_back({v2 ? &cpu_stat_v2_ : &cpu_stat_v1_, files::cpu_stat});
    }
    if (!v2 && tree.has(Controller::CpuAccounting)) wanted.push_back({&cpu_usage_, files::cpu_usage});
    if (tree.has(Controller::Memory)) {
      wanted.push_back({&memory_, v2 ? files::memory_current : files::memory_usage});
      wanted.push_back({&memory_peak_, v2 ? files::memory_peak : files::memory_max_usage});
      wanted.push_back({&memory_stat_, files::memory_stat});
      wanted.push_back({&oom_, v2 ? files::memory_events : files::memory_oom_control});
    }
    if (v2) {
      wanted.push_back({&cpu_pressure_, files::cpu_pressure});
      wanted.push_back({&memory_pressure_, files::memory_pressure});
      wanted.push_back({&io_pressure_, files::io_pressure});
    }
    for (const auto& [file, name] : wanted) {
      if (auto kept = keep(*file, name); !kept) return kept;
    }
    return {};
  }

  [[nodiscard]] Result<Usage> read() const {
    const auto v1 = cpu_stat_v1_.parse(parse_cpu_stat_v1);
    if (!v1) return v1.error();
    const auto v2 = cpu_stat_v2_.parse(parse_cpu_stat_v2);
    if (!v2) return v2.error();
    const auto usage_ns = cpu_usage_.parse(parse_number_file);
    if (!usage_ns) return usage_ns.error();
    const auto memory = memory_.parse(parse_number_file);
    if (!memory) return memory.error();

    const auto microseconds = [](std::uint64_t count) {
      return std::chrono::microseconds(static_cast<std::int64_t>(count));
    };
    Usage usage;
    // In a hybrid hierarchy each figure comes from one version; the other's file is not open.
    const CpuStat of_v1 = v1->value_or(CpuStat{});
    const CpuStat of_v2 = v2->value_or(CpuStat{});
    usage.cpu_time = microseconds(usage_ns->value_or(0) / 1000 + of_v2.usage_us);
    usage.throttled_time = microseconds(of_v1.throttled_us + of_v2.throttled_us);
    usage.nr_throttled = of_v1.nr_throttled + of_v2.nr_throttled;
    usage.memory = Bytes{memory->value_or(0)};
    usage.cpu_known = *usage_ns || *v2;
    usage.memory_known = memory->has_value();
    return usage;
  }

  [[nodiscard]] Result<Bytes> read_inactive_file() const {
    const auto stat = memory_stat_.parse(parse_memory_stat);
    if (!stat) return stat.error();
    return Bytes{stat->value_or(MemoryStat{}).inactive_file};
  }

  [[nodiscard]] Result<UsageDetails> read_details() const {
    const auto peak = memory_peak_.parse(parse_number_file);
    if (!peak) return peak.error();
    const auto oom_kills = oom_.parse(parse_oom_kills);
    if (!oom_kills) return oom_kills.error();
    const auto memory_stat = memory_stat_.parse(parse_memory_stat);
    if (!memory_stat) return memory_stat.error();
    const auto cpu = cpu_pressure_.parse(parse_pressure);
    if (!cpu) return cpu.error();
    const auto memory = memory_pressure_.parse(parse_pressure);
    if (!memory) return memory.error();
    const auto io = io_pressure_.parse(parse_pressure);
    if (!io) return io.error();
    const MemoryStat stat = memory_stat->value_or(MemoryStat{});
    return UsageDetails{
        Bytes{peak->value_or(0)}, oom_kills->value_or(0),    Bytes{stat.inactive_file},    stat.page_faults,
        stat.major_page_faults,   cpu->value_or(Pressure{}), memory->value_or(Pressure{}), io->value_or(Pressure{}),
        peak->has_value(),        oom_kills->has_value(),    memory_stat->has_value(),     *cpu && *memory && *io};
  }

 private:
  CounterFile cpu_stat_v1_, cpu_stat_v2_, cpu_usage_;
  CounterFile memory_, memory_peak_, memory_stat_, oom_;
  CounterFile cpu_pressure_, memory_pressure_, io_pressure_;
};

}  // namespace amp4ec::cgroup::detail
