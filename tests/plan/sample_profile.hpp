// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/profile.hpp>

#include <string>
#include <vector>

/// A profile whose cuts cost nothing: every segment takes the sum of its layers' times. All cuts valid and measured,
/// 1 MiB of weights a layer, 1000 bytes across each cut, one leaf module a layer; no memory besides the weights.
inline amp4ec::Profile sample_profile(const std::vector<double>& layer_us) {
  amp4ec::Profile profile;
  profile.graph.model_hash = "sample";
  profile.layer_us = layer_us;
  for (std::size_t i = 0; i < layer_us.size(); ++i) {
    const std::string name = "layer" + std::to_string(i);
    profile.graph.layers.push_back({name, "aten::op", 2.0, amp4ec::Bytes{1U << 20U}, amp4ec::Bytes{1000}, false});
    profile.graph.leaves.push_back({name, layer_us[i], i});
    profile.whole_us += layer_us[i];
  }
  double before = 0;
  for (std::size_t i = 0; i + 1 < layer_us.size(); ++i) {
    before += layer_us[i];
    profile.graph.cuts.push_back({true, "", amp4ec::Bytes{1000}, 1});
    profile.cut_costs.push_back({before, profile.whole_us - before, true});
  }
  return profile;
}

/// Makes one cut invalid.
inline void reject_cut(amp4ec::Profile& profile, std::size_t after) {
  profile.graph.cuts[after].valid = false;
  profile.graph.cuts[after].reason = "alias crosses: a view of the input";
}
