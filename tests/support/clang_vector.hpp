// SPDX-License-Identifier: Apache-2.0
#pragma once
// For clang-tidy alone, included before everything else: a std::vector that is not constexpr. Clang instantiates
// constexpr members too early for LibTorch 1.13, which declares vectors of types that are still incomplete.
#include <version>
#ifdef __GLIBCXX__
#pragma push_macro("_GLIBCXX20_CONSTEXPR")
#undef _GLIBCXX20_CONSTEXPR
#define _GLIBCXX20_CONSTEXPR
#include <bits/stl_algobase.h>  // declares a function that vector<bool> defines
#pragma pop_macro("_GLIBCXX20_CONSTEXPR")

#include <string>

#pragma push_macro("_GLIBCXX20_CONSTEXPR")
#undef _GLIBCXX20_CONSTEXPR
#define _GLIBCXX20_CONSTEXPR
#include <vector>
#pragma pop_macro("_GLIBCXX20_CONSTEXPR")
#endif
