#pragma once

#include <p2pdvm/base/assert.hpp>
#include <p2pdvm/peal/mpi/part_exchange.hpp>

#include <algorithm>
#include <cstring>

namespace p2pdvm::mpi {

namespace detail {

inline error damaged_parts() { return error(errc::malformed, "a gathered message is damaged"); }

}  // namespace detail

P2PDVM_DECL void append_parts(byte_vector& out, const std::vector<payload>& parts, std::size_t first) {
  for (std::size_t i = first; i < parts.size(); ++i) {
    const std::uint64_t size = parts[i].size();
    append(out, bytes_of(size));
    append(out, parts[i].view());
  }
}

P2PDVM_DECL result<std::vector<payload>> parts_of(const payload& whole, std::size_t offset) {
  std::vector<payload> parts;
  while (offset < whole.size()) {
    std::uint64_t size = 0;
    if (whole.size() - offset < sizeof size) return detail::damaged_parts();
    std::memcpy(&size, whole.data() + offset, sizeof size);
    offset += sizeof size;
    if (whole.size() - offset < size) return detail::damaged_parts();
    parts.push_back(whole.slice(offset, static_cast<std::size_t>(size)));
    offset += static_cast<std::size_t>(size);
  }
  return parts;
}

P2PDVM_DECL part_exchange::part_exchange(const exchange_plan& plan, int self, byte_view head, payload part,
                                         combining combine)
    : plan_(plan),
      self_(self),
      head_(to_vector(head)),
      combine_(std::move(combine)),
      parts_(static_cast<std::size_t>(plan.members())),
      heard_(parts_.size()),
      lacks_(parts_.size() - 1),
      left_(plan.messages_to(self) + (combine_ ? plan.tellers(self).size() : 0)) {
  const payload whole = payload::copy_of(head, part.view());
  for (const int to : plan_.targets(self_)) output_.push_back({to, whole});
  parts_[static_cast<std::size_t>(self_)] = std::move(part);
  for (const auto* b : plan_.bundles_of(self_)) to_pass_on_.push_back({b, b->sources.size()});
  if (lacks_ == 0) end(combine_ ? combine_(parts_) : payload());
}

P2PDVM_DECL void part_exchange::send(int to, byte_view data, kind what) {
  byte_vector whole;
  whole.reserve(head_.size() + data.size() + 1);
  append(whole, head_);
  append(whole, data);
  whole.push_back(static_cast<std::byte>(what));
  output_.push_back({to, payload(std::move(whole))});
}

P2PDVM_DECL void part_exchange::end(payload result) {
  P2PDVM_ASSERT(!done_);
  done_ = true;
  result_ = std::move(result);
  if (!combine_) return;
  for (const relayed& r : to_pass_on_) {
    if (r.lacks > 0) send(r.what->target, result_.view(), kind::result);  // whose parts are late here, too
  }
  for (const int to : plan_.told_by(self_)) send(to, result_.view(), kind::result);
}

P2PDVM_DECL result<> part_exchange::on_message(int from, payload data) {
  if (from < 0 || from >= plan_.members() || from == self_ || left_ == 0) return detail::damaged_parts();
  // A member sends its part first.
  const auto place = static_cast<std::size_t>(from);
  const bool first = plan_.direct(from, self_) && !heard_[place];
  if (!first && data.empty()) return detail::damaged_parts();
  --left_;
  if (done_) return {};
  if (first) {
    heard_[place] = true;
    on_part(from, std::move(data));
  } else {
    const auto what = static_cast<kind>(data.data()[data.size() - 1]);
    payload rest = data.slice(0, data.size() - 1);
    if (what == kind::result && combine_) {
      end(std::move(rest));
      return {};
    }
    if (what != kind::bundle) return detail::damaged_parts();
    if (auto taken = on_bundle(from, rest); !taken.ok()) return taken;
  }
  if (lacks_ == 0) end(combine_ ? combine_(parts_) : payload());
  return {};
}

P2PDVM_DECL void part_exchange::on_part(int from, payload data) {
  parts_[static_cast<std::size_t>(from)] = std::move(data);
  --lacks_;
  for (relayed& r : to_pass_on_) {
    if (!std::binary_search(r.what->sources.begin(), r.what->sources.end(), from) || --r.lacks > 0) continue;
    std::vector<payload> some;
    for (const int source : r.what->sources) some.push_back(parts_[static_cast<std::size_t>(source)]);
    byte_vector bundle;
    append_parts(bundle, some);
    send(r.what->target, bundle, kind::bundle);
  }
}

P2PDVM_DECL result<> part_exchange::on_bundle(int from, const payload& data) {
  const exchange_plan::bundle* const b = plan_.find(from, self_);
  auto passed = parts_of(data);
  if (!passed.ok()) return passed.error();
  if (b == nullptr || passed->size() != b->sources.size() || b->sources.size() > lacks_) return detail::damaged_parts();
  for (std::size_t i = 0; i < passed->size(); ++i)
    parts_[static_cast<std::size_t>(b->sources[i])] = std::move((*passed)[i]);
  lacks_ -= passed->size();
  return {};
}

}  // namespace p2pdvm::mpi
