// SPDX-License-Identifier: Apache-2.0
#include "runtime/profile_fit.hpp"

#include <amp4ec/plan/estimate_profile.hpp>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace amp4ec::detail {

namespace {

// For spreading measurements and filling the gaps between them.
std::vector<double> estimate(const LayerGraph& graph) {
  std::vector<double> costs;
  for (const Layer& layer : graph.layers) costs.push_back(estimated_layer_us(layer));
  return costs;
}

// A cut where much is in hand can make a part of the model need more memory than a larger part. Such a cut is not
// offered to a planner, which counts on the opposite.
constexpr double too_much = 1.1;    // Of what the whole model needs,
constexpr double much_more = 1.25;  // and of what a larger segment needs. Less than that is noise, and rounded up.

bool exceeds(Bytes memory, double factor, Bytes other) {
  return static_cast<double>(memory.count) > factor * static_cast<double>(other.count);
}

/// For the cuts in the order in which their segments (before them, or after them) grow.
void drop_where_it_falls(const std::vector<CutCost*>& growing, Bytes CutCost::*memory, Bytes whole) {
  Bytes least_larger = whole;
  for (auto at = growing.rbegin(); at != growing.rend(); ++at) {
    const Bytes needed = (*at)->*memory;
    if (exceeds(needed, too_much, whole) || exceeds(needed, much_more, least_larger)) (*at)->measured = false;
    least_larger = std::min(least_larger, needed);
  }
}

/// As above.
void round_up(const std::vector<CutCost*>& growing, Bytes CutCost::*memory, Bytes whole) {
  Bytes most;
  for (CutCost* cost : growing) most = cost->*memory = std::min(std::max(most, cost->*memory), whole);
}

/// Makes memory fit for planning: it never falls where a segment grows. Nothing where it was not measured.
void let_memory_grow(Profile& profile) {
  const Bytes whole = profile.whole_memory;
  if (whole.count == 0) return;
  std::vector<CutCost*> prefixes;
  for (CutCost& cost : profile.cut_costs) {
    if (cost.measured) prefixes.push_back(&cost);
  }
  std::vector<CutCost*> suffixes(prefixes.rbegin(), prefixes.rend());
  drop_where_it_falls(prefixes, &CutCost::prefix_memory, whole);
  drop_where_it_falls(suffixes, &CutCost::suffix_memory, whole);
  const auto dropped = [](const CutCost* cost) { return !cost->measured; };
  std::erase_if(prefixes, dropped);
  std::erase_if(suffixes, dropped);

  profile.process_memory = whole;
  for (const CutCost* cost : prefixes)
    profile.process_memory = std::min({profile.process_memory, cost->prefix_memory, cost->suffix_memory});
  for (const SegmentCost& segment : profile.segments)
    profile.process_memory = std::min(profile.process_memory, segment.memory);
  round_up(prefixes, &CutCost::prefix_memory, whole);
  round_up(suffixes, &CutCost::suffix_memory, whole);
}

// Unmeasured cuts take their place between measured neighbours: time in proportion to the estimated work, memory that
// of the larger one.
void interpolate(Profile& profile, const std::vector<double>& costs) {
  const std::size_t cuts = profile.cut_costs.size();
  std::vector<double> done(cuts + 1);  // Estimated work before each cut.
  std::partial_sum(costs.begin(), costs.end(), done.begin());
  double from_work = 0;
  CutCost from{0, profile.whole_us, true, profile.process_memory, profile.whole_memory};
  std::size_t begin = 0;
  for (std::size_t cut = 0; cut <= cuts; ++cut) {
    if (cut < cuts && !profile.cut_costs[cut].measured) continue;
    const CutCost to = cut < cuts ? profile.cut_costs[cut]
                                  : CutCost{profile.whole_us, 0, true, profile.whole_memory, profile.process_memory};
    for (std::size_t between = begin; between < cut; ++between) {
      const double share = (done[between] - from_work) / (done[cut] - from_work);
      profile.cut_costs[between] = {std::lerp(from.prefix_us, to.prefix_us, share),
                                    std::lerp(from.suffix_us, to.suffix_us, share), false, to.prefix_memory,
                                    from.suffix_memory};
    }
    from_work = done[cut];
    from = to;
    begin = cut + 1;
  }
}

// Time up to a cut, without what the cut itself costs: half of that is on either side.
double time_before(const Profile& profile, std::size_t cut) {
  const CutCost& time = profile.cut_costs[cut];
  return std::clamp((time.prefix_us + profile.whole_us - time.suffix_us) / 2, 0.0, profile.whole_us);
}

void share_out(Profile& profile, const std::vector<double>& costs) {
  profile.layer_us.assign(costs.size(), 0);
  std::size_t begin = 0;
  double before = 0;
  for (std::size_t cut = 0; cut <= profile.cut_costs.size(); ++cut) {
    const bool end = cut == profile.cut_costs.size();
    if (!end && !profile.cut_costs[cut].measured) continue;
    // Noise can make a later cut look earlier than its neighbour; no layer takes negative time.
    const double after = end ? profile.whole_us : std::max(before, time_before(profile, cut));
    const double work = std::accumulate(costs.begin() + static_cast<std::ptrdiff_t>(begin),
                                        costs.begin() + static_cast<std::ptrdiff_t>(cut) + 1, 0.0);
    for (std::size_t layer = begin; layer <= cut; ++layer)
      profile.layer_us[layer] = (after - before) * costs[layer] / work;
    before = after;
    begin = cut + 1;
  }
}

}  // namespace

std::vector<std::size_t> choose_cuts(const LayerGraph& graph, std::size_t count) {
  const auto costs = estimate(graph);
  const double total = std::accumulate(costs.begin(), costs.end(), 0.0);
  std::vector<std::size_t> chosen;
  double done = 0;
  std::size_t share = 0;
  for (std::size_t cut = 0; cut < graph.cuts.size(); ++cut) {
    done += costs[cut];
    const auto in_share = std::min(count, static_cast<std::size_t>(done / total * static_cast<double>(count)));
    if (!graph.cuts[cut].valid) continue;
    const bool new_share = chosen.empty() || in_share > share;
    const auto cheaper = [&] {  // At equal size the later one: after an activation rather than before it.
      const Cut& best = graph.cuts[chosen.back()];
      return std::pair(graph.cuts[cut].crossing, graph.cuts[cut].crossing_values) <=
             std::pair(best.crossing, best.crossing_values);
    };
    if (new_share) {
      chosen.push_back(cut);
      share = in_share;
    } else if (cheaper()) {
      chosen.back() = cut;
    }
  }
  return chosen;
}

void fit_profile(Profile& profile) {
  const auto costs = estimate(profile.graph);
  let_memory_grow(profile);
  interpolate(profile, costs);
  share_out(profile, costs);
}

}  // namespace amp4ec::detail
