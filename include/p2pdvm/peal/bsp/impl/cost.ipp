#pragma once

#include <p2pdvm/peal/bsp/cost.hpp>

#include <fmt/core.h>

#include <algorithm>
#include <string_view>
#include <utility>

namespace p2pdvm::bsp::detail {

inline std::string time_text(double seconds) {
  if (seconds >= 1) return fmt::format("{:.3g} s", seconds);
  if (seconds >= 1e-3) return fmt::format("{:.3g} ms", seconds * 1e3);
  return fmt::format("{:.3g} us", seconds * 1e6);
}

P2PDVM_DECL void cost_meter::add(const place& where, const superstep_cost& cost) {
  if (++count_ <= first_ones) return;
  const double beside = std::max(0.0, cost.took - cost.work);
  words_ += cost.words, seconds_ += beside;
  words_squared_ += cost.words * cost.words, products_ += cost.words * beside;
  const auto same = [&](const sums& s) { return s.line == where.line && std::string_view(s.file) == where.file; };
  auto found = std::find_if(places_.begin(), places_.end(), same);
  if (found == places_.end()) {
    if (places_.size() == places_max) return;
    places_.push_back({where.file, where.line, 0, {}});
    found = places_.end() - 1;
  }
  ++found->count;
  found->total.work += cost.work;
  found->total.words += cost.words;
  found->total.took += cost.took;
}

P2PDVM_DECL std::optional<machine> cost_meter::measured() const {
  if (count_ < first_ones + needed) return std::nullopt;
  const double n = static_cast<double>(count_ - first_ones);
  machine m;
  m.ranks = ranks_;
  const double spread = n * words_squared_ - words_ * words_;
  // Where all supersteps have as many words, their time tells nothing about one.
  const bool alike = spread <= 1e-9 * n * words_squared_;
  m.g = alike ? 0 : std::max(0.0, (n * products_ - words_ * seconds_) / spread);
  m.l = std::max(0.0, (seconds_ - m.g * words_) / n);
  return m;
}

P2PDVM_DECL std::vector<std::string> cost_meter::explained() const {
  const auto m = measured();
  if (!m) return {};
  std::vector<std::string> all;
  all.push_back(fmt::format("a BSP machine of {} ranks, as its supersteps show: l = {}, g = {} a word of 8 bytes", m->ranks, time_text(m->l), time_text(m->g)));
  std::vector<const sums*> order;
  for (const sums& s : places_) order.push_back(&s);
  std::sort(order.begin(), order.end(), [](const sums* a, const sums* b) { return std::pair(b->total.took, a) < std::pair(a->total.took, b); });
  for (const sums* s : order) {
    const double n = static_cast<double>(s->count), work = s->total.work / n, words = s->total.words / n, took = s->total.took / n;
    all.push_back(fmt::format("{} supersteps end at {}: {} each; W = {} (the slowest rank), h = {:.0f} words, so W + gh + l = {}", s->count,
                              text_of({s->file, s->line}), time_text(took), time_text(work), words, time_text(work + m->g * words + m->l)));
  }
  return all;
}

}  // namespace p2pdvm::bsp::detail
