#pragma once

#include <p2pdvm/peal/mpi/context.hpp>

#include <algorithm>
#include <bit>

namespace p2pdvm::mpi::detail {

/// A collective of this rank while it runs: its number, and that no safe point may be here.
class group::collective {
 public:
  collective(group& g, const call& what) : tag(g.sequence_++), mine(what), owner_(*g.owner_) {
    ++owner_.running_;
    owner_.last_ = what.head.op;
  }
  collective(const collective&) = delete;
  collective& operator=(const collective&) = delete;
  ~collective() { --owner_.running_; }
  const std::int64_t tag;
  const call mine;

 private:
  context& owner_;
};

P2PDVM_DECL void group::put(const collective& in, int to, byte_view data) {
  owner_->port().post_send(job_rank(to), in.tag, message_of(in.mine.head, data), id_ * 2 + 1);
}

P2PDVM_DECL void group::put_value(const collective& in, int to, const accumulator& value) {
  byte_vector whole(to_vector(bytes_of(in.mine.head)));
  value.append_to(whole);
  owner_->port().post_send(job_rank(to), in.tag, payload(std::move(whole)), id_ * 2 + 1);
}

P2PDVM_DECL task<peal::message> group::take(const collective& in, int from) {
  peal::message m = co_await owner_->port().receive(job_rank(from), in.tag, id_ * 2 + 1);
  const incoming got = opened(in.mine, m);
  const message_head& a = in.mine.head;
  const message_head& b = got.head;
  if (a.op != b.op || a.root != b.root || a.reduction != b.reduction)
    refuse("collectives do not match: " + text_of_self() + " is in " + in.mine.text() + ", but " +
           got.from() + " is in " + text_of(b));
  check_format(in.mine, got);
  co_return m;
}

P2PDVM_DECL task<> group::barrier(call c) {
  const collective in(*this, c);
  for (int k = 1; k < size_; k *= 2) {
    put(in, wrapped(self_ + k), {});
    (void)co_await take(in, wrapped(self_ - k + size_));
  }
}

P2PDVM_DECL task<> group::broadcast_from(const collective& in, int root, payload& whole) {
  const int place = wrapped(self_ - root + size_);
  int k = 1;
  for (; k < size_ && (place & k) == 0; k *= 2) {
  }
  if (place != 0) {
    const peal::message m = co_await take(in, wrapped(place - k + root));
    whole = m.body();
  }
  for (k /= 2; k > 0; k /= 2) {
    if (place + k >= size_) continue;
    owner_->port().post_send(job_rank(wrapped(place + k + root)), in.tag, whole, id_ * 2 + 1);
  }
}

P2PDVM_DECL task<> group::broadcast(call c, target data) {
  const collective in(*this, data.describe(c));
  const int root = c.head.root;
  payload whole;
  if (self_ == root) whole = data.message(in.mine);
  co_await broadcast_from(in, root, whole);
  if (self_ == root) co_return;
  const peal::message m(job_rank(root), in.tag, std::move(whole));
  data.place(in.mine, opened(in.mine, m), true);
}

P2PDVM_DECL void group::merge(const collective& in, accumulator& value, const peal::message& m,
                              bool right) const {
  value.merge(in.mine, opened(in.mine, m), right);
}

P2PDVM_DECL task<> group::reduce_to_first(const collective& in, accumulator& value) {
  for (int k = 1; k < size_; k *= 2) {
    if ((self_ & k) != 0) {
      put_value(in, self_ - k, value);
      co_return;
    }
    if (self_ + k >= size_) continue;
    const peal::message m = co_await take(in, self_ + k);
    merge(in, value, m, true);
  }
}

P2PDVM_DECL task<> group::reduce(call c, accumulator& value) {
  const collective in(*this, c);
  const int root = c.head.root;
  co_await reduce_to_first(in, value);
  if (root == 0) co_return;
  if (self_ == 0) put_value(in, root, value);
  if (self_ != root) co_return;
  const peal::message m = co_await take(in, 0);
  value.replace(in.mine, opened(in.mine, m));
}

P2PDVM_DECL task<> group::double_distances(const collective& in, accumulator& value) {
  for (int k = 1; k < size_; k *= 2) {
    const int partner = self_ ^ k;
    put_value(in, partner, value);
    const peal::message m = co_await take(in, partner);
    merge(in, value, m, partner > self_);
  }
}

P2PDVM_DECL task<> group::allreduce(call c, accumulator& value) {
  const collective in(*this, c);
  if (std::has_single_bit(static_cast<unsigned>(size_))) {
    co_await double_distances(in, value);
    co_return;
  }
  co_await reduce_to_first(in, value);
  payload whole;
  if (self_ == 0) {
    byte_vector bytes(to_vector(bytes_of(in.mine.head)));
    value.append_to(bytes);
    whole = payload(std::move(bytes));
  }
  co_await broadcast_from(in, 0, whole);
  if (self_ == 0) co_return;
  const peal::message m(job_rank(0), in.tag, std::move(whole));
  value.replace(in.mine, opened(in.mine, m));
}

P2PDVM_DECL task<> group::scan(call c, accumulator& value) {
  const collective in(*this, c);
  for (int k = 1; k < size_; k *= 2) {
    if (self_ + k < size_) put_value(in, self_ + k, value);
    if (self_ < k) continue;
    const peal::message m = co_await take(in, self_ - k);
    merge(in, value, m, false);
  }
}

P2PDVM_DECL task<bool> group::exclusive_scan(call c, accumulator& value) {
  co_await scan(c, value);
  const collective in(*this, c);
  if (self_ + 1 < size_) put_value(in, self_ + 1, value);
  if (self_ == 0) co_return false;
  const peal::message m = co_await take(in, self_ - 1);
  value.replace(in.mine, opened(in.mine, m));
  co_return true;
}

P2PDVM_DECL void append_parts(byte_vector& out, const std::vector<payload>& parts,
                              std::size_t first) {
  for (std::size_t i = first; i < parts.size(); ++i) {
    const std::uint64_t size = parts[i].size();
    append(out, bytes_of(size));
    append(out, parts[i].view());
  }
}

P2PDVM_DECL std::vector<payload> parts_of(const payload& whole, std::size_t offset) {
  std::vector<payload> parts;
  while (offset < whole.size()) {
    std::uint64_t size = 0;
    if (whole.size() - offset < sizeof size) refuse("a gathered message is damaged");
    std::memcpy(&size, whole.data() + offset, sizeof size);
    offset += sizeof size;
    if (whole.size() - offset < size) refuse("a gathered message is damaged");
    parts.push_back(whole.slice(offset, static_cast<std::size_t>(size)));
    offset += static_cast<std::size_t>(size);
  }
  return parts;
}

/// Appends what arrived, which must be `expected` parts.
inline void add_parts(std::vector<payload>& parts, const peal::message& m, int expected) {
  std::vector<payload> more = parts_of(m.body(), head_bytes);
  if (more.size() != static_cast<std::size_t>(expected)) refuse("a gathered message is damaged");
  std::move(more.begin(), more.end(), std::back_inserter(parts));
}

P2PDVM_DECL task<std::vector<payload>> group::gather(call c, payload mine) {
  const collective in(*this, c);
  const int root = c.head.root;
  const int place = wrapped(self_ - root + size_);
  std::vector<payload> parts(1, std::move(mine));
  for (int k = 1; k < size_; k *= 2) {
    if ((place & k) != 0) {
      byte_vector bundle;
      append_parts(bundle, parts, 0);
      put(in, wrapped(place - k + root), bundle);
      co_return std::vector<payload>();
    }
    if (place + k >= size_) continue;
    const peal::message m = co_await take(in, wrapped(place + k + root));
    add_parts(parts, m, std::min(k, size_ - place - k));
  }
  std::rotate(parts.begin(), parts.end() - root, parts.end());
  co_return parts;
}

P2PDVM_DECL task<std::vector<payload>> group::allgather(call c, payload mine) {
  const collective in(*this, c);
  std::vector<payload> parts(1, std::move(mine));  // of self, self + 1, …
  for (int k = 1; k < size_; k *= 2) {
    const int more = std::min(k, size_ - k);
    byte_vector bundle;
    const std::vector<payload> first(parts.begin(), parts.begin() + more);
    append_parts(bundle, first, 0);
    put(in, wrapped(self_ - k + size_), bundle);
    const peal::message m = co_await take(in, wrapped(self_ + k));
    add_parts(parts, m, more);
  }
  std::rotate(parts.begin(), parts.end() - self_, parts.end());
  co_return parts;
}

P2PDVM_DECL task<payload> group::scatter(call c, std::vector<payload> parts) {
  const collective in(*this, c);
  const int root = c.head.root;
  const int place = wrapped(self_ - root + size_);
  int k = 1;
  for (; k < size_ && (place & k) == 0; k *= 2) {
  }
  if (place == 0) {
    std::rotate(parts.begin(), parts.begin() + root, parts.end());
  } else {
    const peal::message m = co_await take(in, wrapped(place - k + root));
    parts.clear();
    add_parts(parts, m, std::min(k, size_ - place));
  }
  for (k /= 2; k > 0; k /= 2) {
    if (place + k >= size_) continue;
    byte_vector bundle;
    append_parts(bundle, parts, static_cast<std::size_t>(k));
    put(in, wrapped(place + k + root), bundle);
    parts.resize(static_cast<std::size_t>(k));
  }
  co_return parts.front();
}

P2PDVM_DECL task<std::vector<payload>> group::alltoall(call c, std::vector<payload> parts) {
  const collective in(*this, c);
  for (int k = 1; k < size_; ++k) {
    const int to = wrapped(self_ + k);
    put(in, to, parts[static_cast<std::size_t>(to)].view());
  }
  for (int k = 1; k < size_; ++k) {
    const int from = wrapped(self_ - k + size_);
    const peal::message m = co_await take(in, from);
    parts[static_cast<std::size_t>(from)] =
        m.body().slice(head_bytes, m.body().size() - head_bytes);
  }
  co_return parts;
}

/// One rank's part in a split; copied as it is.
struct split_part {
  std::int32_t colour;
  std::int32_t key;
  std::uint32_t next_id;
};

P2PDVM_DECL task<std::shared_ptr<group>> group::split(call c, int colour, int key) {
  const split_part mine{colour, key, owner_->next_id()};
  const std::vector<payload> parts = co_await allgather(c, payload::copy_of(bytes_of(mine)));
  std::uint32_t id = 0;
  std::vector<std::pair<int, int>> chosen;  // key, rank here
  for (int r = 0; r < size_; ++r) {
    const payload& bytes = parts[static_cast<std::size_t>(r)];
    split_part part{};
    if (bytes.size() != sizeof part) refuse("a split message is damaged");
    std::memcpy(&part, bytes.data(), sizeof part);
    id = std::max(id, part.next_id);
    if (part.colour == colour) chosen.emplace_back(part.key, r);
  }
  owner_->take_id(id);
  if (colour < 0) co_return nullptr;
  std::sort(chosen.begin(), chosen.end());
  std::vector<int> members;
  int self = 0;
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    if (chosen[i].second == self_) self = static_cast<int>(i);
    members.push_back(job_rank(chosen[i].second));
  }
  co_return std::make_shared<group>(owner_, id, std::move(members), self);
}

}  // namespace p2pdvm::mpi::detail
