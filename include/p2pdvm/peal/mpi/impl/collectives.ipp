#pragma once

#include <p2pdvm/peal/mpi/impl/collective.ipp>

#include <algorithm>
#include <bit>

namespace p2pdvm::mpi::detail {

P2PDVM_DECL void group::put(const collective& in, int to, byte_view data) {
  // In two parts: it is on its way before it is copied for the window.
  (void)owner_->port().send(job_rank(to), in.tag, bytes_of(in.mine.head), data, id_ * 2 + 1);
}

P2PDVM_DECL void group::put_value(const collective& in, int to, const accumulator& value) {
  if (const std::optional<byte_view> elements = value.elements()) return put(in, to, *elements);
  byte_vector whole(to_vector(bytes_of(in.mine.head)));
  value.append_to(whole);
  owner_->port().post_send(job_rank(to), in.tag, payload(std::move(whole)), id_ * 2 + 1);
}

P2PDVM_DECL task<group::taking> group::take(const collective& in, int from) {
  return task<taking>(*this, in, job_rank(from));
}

P2PDVM_DECL incoming group::opened_alike(const collective& in, const peal::message& m) const {
  const incoming got = opened(in.mine, m);
  const message_head& a = in.mine.head;
  const message_head& b = got.head;
  if (a.op != b.op || a.root != b.root || a.reduction != b.reduction)
    refuse("collectives do not match: " + text_of_self() + " is in " + in.mine.text() + ", but " +
           got.from() + " is in " + got.call_text(in.mine));
  check_format(in.mine, got);
  return got;
}

P2PDVM_DECL task<> group::barrier(call c) {
  collective in(*this, c);
  if (!knows_network()) co_await know_network(in);
  const way how = choose(in, collective_task::kind::barrier, 0);
  if (how == way::exchange || how == way::by_peers) {
    co_await combine_all(in, how, nullptr);
  } else if (how == way::hub) {
    co_await meet_at_hub(in, nullptr);
  } else {  // here, since a coroutine more would cost a tenth of it
    for (int k = 1; k < size_; k *= 2) {
      put(in, wrapped(self_ + k), {});
      (void)co_await take(in, wrapped(self_ - k + size_));
    }
  }
  in.done();
}

P2PDVM_DECL tree_order group::order_from(int root) const { return {size_, wrapped(self_ - root + size_), root, nullptr}; }

P2PDVM_DECL tree_order group::order_of_peer() const {
  const std::vector<int>& here = network_->groups().members(network_->groups().group_of(self_));
  const auto place = std::lower_bound(here.begin(), here.end(), self_) - here.begin();
  return {static_cast<int>(here.size()), static_cast<int>(place), 0, &here};
}

/// What arrives is handed on, never copied.
P2PDVM_DECL task<> group::give_from_first(const collective& in, const tree_order& order, payload& whole) {
  int k = 1;
  for (; k < order.size && (order.place & k) == 0; k *= 2) {
  }
  if (order.place != 0) {
    const peal::message m = co_await take(in, order.member(order.place - k));
    whole = m.body();
  }
  for (k /= 2; k > 0; k /= 2) {
    if (order.place + k >= order.size) continue;
    owner_->port().post_send(job_rank(order.member(order.place + k)), in.tag, whole, id_ * 2 + 1);
  }
}

P2PDVM_DECL task<> group::broadcast(call c, target data) {
  const collective in(*this, data.describe(c));
  const int root = c.head.root;
  payload whole;
  if (self_ == root) whole = data.message(in.mine);
  const tree_order order = order_from(root);
  co_await give_from_first(in, order, whole);
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

P2PDVM_DECL task<> group::allreduce(call c, accumulator& value) {
  collective in(*this, c);
  if (!knows_network()) co_await know_network(in);
  const std::optional<byte_view> elements = value.elements();
  way how = way::rounds;
  if (elements) {  // else others' sizes are not known
    if (wants_uplinks(elements->size())) co_await know_uplinks(in);
    how = choose(in, collective_task::kind::allreduce, elements->size());
  }
  if (how == way::rounds && std::has_single_bit(static_cast<unsigned>(size_))) {
    for (int k = 1; k < size_; k *= 2) {  // here, since a coroutine more would cost a tenth of it
      const int partner = self_ ^ k;
      put_value(in, partner, value);
      const peal::message m = co_await take(in, partner);
      merge(in, value, m, partner > self_);
    }
  } else if (how == way::rounds) {
    co_await reduce_and_broadcast(in, value);
  } else if (how == way::halving) {
    co_await allreduce_in_halves(in, value);
  } else if (how == way::slices) {
    co_await allreduce_in_slices(in, value);
  } else if (how == way::hub) {
    co_await meet_at_hub(in, &value);
  } else {
    co_await combine_all(in, how, &value);
  }
  in.done();
}

P2PDVM_DECL task<> group::meet_at_hub(const collective& in, accumulator* value) {
  if (self_ != 0) {
    put(in, 0, value == nullptr ? byte_view() : *value->elements());
    const peal::message m = co_await take(in, 0);
    if (value != nullptr) value->replace(in.mine, opened(in.mine, m));
    co_return;
  }
  std::vector<payload> parts;
  if (value != nullptr) parts.push_back(payload::copy_of(*value->elements()));
  for (int from = 1; from < size_; ++from) {
    const peal::message m = co_await take(in, from);
    if (value != nullptr) parts.push_back(m.body().slice(head_bytes, m.body().size() - head_bytes));
  }
  byte_view all;
  if (value != nullptr) {
    value->fold(in.mine, all_incoming(in.mine, parts), 0, value->elements()->size() / in.mine.head.element_bytes);
    all = *value->elements();
  }
  for (int to = 1; to < size_; ++to) put(in, to, all);
}

P2PDVM_DECL task<> group::reduce_and_broadcast(const collective& in, accumulator& value) {
  co_await reduce_to_first(in, value);
  payload whole;
  if (self_ == 0) {
    byte_vector bytes(to_vector(bytes_of(in.mine.head)));
    value.append_to(bytes);
    whole = payload(std::move(bytes));
  }
  const tree_order order = order_from(0);
  co_await give_from_first(in, order, whole);
  if (self_ == 0) co_return;
  const peal::message m(job_rank(0), in.tag, std::move(whole));
  value.replace(in.mine, opened(in.mine, m));
}

/// Elements `first` … `first + count` of a range.
struct element_part {
  std::size_t first;
  std::size_t count;
};

inline byte_view bytes_of_part(const accumulator& value, const call& c, const element_part& part) {
  const std::size_t each = c.head.element_bytes;
  return value.elements()->subspan(part.first * each, part.count * each);
}

/// After the round with distance k a rank has, of a part that gets shorter, what its block of 2k ranks
/// combine to: the block that the tree of `reduce` has at that level.
P2PDVM_DECL task<> group::allreduce_in_halves(const collective& in, accumulator& value) {
  P2PDVM_ASSERT(std::has_single_bit(static_cast<unsigned>(size_)));
  element_part mine{0, value.elements()->size() / in.mine.head.element_bytes};
  std::vector<std::pair<element_part, element_part>> halves;  // kept, given
  for (int k = 1; k < size_; k *= 2) {
    const int partner = self_ ^ k;
    const element_part low{mine.first, mine.count / 2};
    const element_part high{mine.first + low.count, mine.count - low.count};
    const bool keeps_high = (self_ & k) != 0;
    mine = keeps_high ? high : low;
    halves.emplace_back(mine, keeps_high ? low : high);
    put(in, partner, bytes_of_part(value, in.mine, halves.back().second));
    const peal::message m = co_await take(in, partner);
    value.merge_part(in.mine, opened(in.mine, m), partner > self_, mine.first, mine.count);
  }
  for (int k = size_ / 2; k > 0; k /= 2) {
    const int partner = self_ ^ k;
    const auto [kept, given] = halves.back();
    halves.pop_back();
    put(in, partner, bytes_of_part(value, in.mine, kept));
    const peal::message m = co_await take(in, partner);
    value.replace_part(in.mine, opened(in.mine, m), given.first, given.count);
  }
}

/// What whom combines, block by block.
class slice_plan {
 public:
  slice_plan(const network_view& network, std::size_t count, std::size_t blocks)
      : members_(static_cast<std::size_t>(network.members())) {
    for (std::size_t block = 0; block < blocks; ++block) {
      const std::size_t first = count / blocks * block + std::min(block, count % blocks);
      const std::size_t size = count / blocks + (block < count % blocks ? 1 : 0);
      for (int member = 0; member < network.members(); ++member) {
        const auto [from, end] = network.slice(size, member);
        slices_.push_back({first + from, end - from});
      }
    }
  }
  [[nodiscard]] std::size_t blocks() const noexcept { return slices_.size() / members_; }
  [[nodiscard]] const element_part& slice(std::size_t block, int member) const {
    return slices_[block * members_ + static_cast<std::size_t>(member)];
  }
  /// Blocks of which a member combines something. Rounding may leave it nothing of one.
  [[nodiscard]] std::vector<std::size_t> blocks_of(int member) const {
    std::vector<std::size_t> some;
    for (std::size_t block = 0; block < blocks(); ++block) {
      if (slice(block, member).count > 0) some.push_back(block);
    }
    return some;
  }

 private:
  std::size_t members_;
  std::vector<element_part> slices_;  ///< of all members, of one block after another
};

/// From each other member come first its parts of the blocks of which this one combines something, then what
/// it has combined, both in the order of the blocks.
P2PDVM_DECL task<> group::allreduce_in_slices(const collective& in, accumulator& value) {
  const std::size_t bytes = value.elements()->size();
  const slice_plan plan(network_->view(), bytes / in.mine.head.element_bytes, mpi::blocks_of(bytes, size_));
  for (std::size_t block = 0; block < plan.blocks(); ++block) {
    for (int k = 1; k < size_; ++k) {
      const int to = wrapped(self_ + k);
      const element_part& theirs = plan.slice(block, to);
      if (theirs.count > 0) put(in, to, bytes_of_part(value, in.mine, theirs));
    }
  }
  const std::vector<std::size_t> own = plan.blocks_of(self_);
  std::vector<std::vector<payload>> parts(own.size());
  std::vector<int> lacks(own.size(), size_ - 1);
  for (std::size_t i = 0; i < own.size(); ++i) {
    parts[i].resize(static_cast<std::size_t>(size_));
    parts[i][static_cast<std::size_t>(self_)] = payload::copy_of(bytes_of_part(value, in.mine, plan.slice(own[i], self_)));
  }
  std::vector<std::vector<std::size_t>> theirs(static_cast<std::size_t>(size_));
  std::size_t left = own.size() * static_cast<std::size_t>(size_ - 1);
  for (int k = 1; k < size_; ++k) {
    const int member = wrapped(self_ + k);
    theirs[static_cast<std::size_t>(member)] = plan.blocks_of(member);
    left += theirs[static_cast<std::size_t>(member)].size();
  }
  std::vector<std::size_t> received(static_cast<std::size_t>(size_));
  for (; left > 0; --left) {
    const peal::message m = co_await owner_->port().receive(peal::any_source, in.tag, id_ * 2 + 1, in.site());
    const incoming got = opened_alike(in, m);
    const auto from = static_cast<std::size_t>(got.source);
    const std::size_t i = received[from]++;
    if (i >= own.size() + theirs[from].size()) refuse("an allreduce got more than there is");
    if (i >= own.size()) {
      const element_part& done = plan.slice(theirs[from][i - own.size()], got.source);
      value.replace_part(in.mine, got, done.first, done.count);
      continue;
    }
    parts[i][from] = m.body().slice(head_bytes, m.body().size() - head_bytes);
    if (--lacks[i] > 0) continue;
    const element_part& mine = plan.slice(own[i], self_);
    value.fold(in.mine, all_incoming(in.mine, parts[i]), mine.first, mine.count);
    parts[i].clear();
    const payload done = message_of(in.mine.head, bytes_of_part(value, in.mine, mine));
    for (int k = 1; k < size_; ++k)
      owner_->port().post_send(job_rank(wrapped(self_ + k)), in.tag, done, id_ * 2 + 1);
  }
}

P2PDVM_DECL std::vector<incoming> group::all_incoming(const call& c, const std::vector<payload>& parts) const {
  std::vector<incoming> all;
  all.reserve(parts.size());
  for (int member = 0; member < size_; ++member)
    all.push_back({c.head, parts[static_cast<std::size_t>(member)].view(), member, job_rank(member), &owner_->rank()});
  return all;
}

/// What was sent by `append_parts`.
inline std::vector<payload> all_parts_of(const payload& whole, std::size_t offset) {
  auto parts = parts_of(whole, offset);
  if (!parts.ok()) refuse(parts.error().message());
  return std::move(*parts);
}

/// Appends what arrived, which must be `expected` parts.
inline void add_parts(std::vector<payload>& parts, const peal::message& m, int expected) {
  std::vector<payload> more = all_parts_of(m.body(), head_bytes);
  if (more.size() != static_cast<std::size_t>(expected)) refuse("a gathered message is damaged");
  std::move(more.begin(), more.end(), std::back_inserter(parts));
}

/// What the members of each peer gave, in the order of the peers, in that of the members.
inline std::vector<payload> by_member(const peer_groups& groups, const std::vector<payload>& by_peer) {
  std::vector<payload> ordered;
  for (std::size_t g = 0; g < by_peer.size(); ++g) {
    std::vector<payload> some = all_parts_of(by_peer[g], 0);
    const std::vector<int>& members = groups.members(g);
    if (some.size() != members.size()) refuse("a gathered message is damaged");
    for (std::size_t i = 0; i < some.size(); ++i) {
      const auto at = static_cast<std::size_t>(members[i]);
      if (ordered.size() <= at) ordered.resize(at + 1);
      ordered[at] = std::move(some[i]);
    }
  }
  return ordered;
}

/// What a reduction, or a barrier, makes of everybody's parts.
class group::combining {
 public:
  combining(const group& g, const collective& in, accumulator* value) : group_(&g), in_(&in), value_(value) {}
  payload operator()(const std::vector<payload>& parts) const {
    if (value_ == nullptr) return {};
    value_->fold(in_->mine, group_->all_incoming(in_->mine, parts), 0,
                 value_->elements()->size() / in_->mine.head.element_bytes);
    return payload::copy_of(*value_->elements());
  }

 private:
  const group* group_;
  const collective* in_;
  accumulator* value_;
};

/// The same of what peers gave, each for its members.
class group::combining_by_peers {
 public:
  combining_by_peers(const peer_groups& groups, combining combine) : groups_(&groups), combine_(combine) {}
  payload operator()(const std::vector<payload>& by_peer) const { return combine_(by_member(*groups_, by_peer)); }

 private:
  const peer_groups* groups_;
  combining combine_;
};

/// Who has that place in it; an empty one is that of all members.
inline int of_circle(const std::vector<int>& circle, int place) {
  return circle.empty() ? place : circle[static_cast<std::size_t>(place)];
}

P2PDVM_DECL task<> group::run(const collective& in, part_exchange& parts, const std::vector<int>& circle) {
  // Before its `restore` a rank may leave nothing behind. Later it may, but no rank is far ahead of a slow path.
  const bool to_the_end = !owner_->rank().restored() || owner_->collectives_left(id_) >= collectives_left_max;
  for (;;) {
    for (const part_exchange::output& out : parts.take_output())
      owner_->port().post_send(job_rank(of_circle(circle, out.to)), in.tag, out.data, id_ * 2 + 1);
    if (parts.done() && (!to_the_end || parts.left() == 0)) break;
    const peal::message m = co_await owner_->port().receive(peal::any_source, in.tag, id_ * 2 + 1, in.site());
    int from = opened_alike(in, m).source;
    if (!circle.empty()) {
      const auto at = std::lower_bound(circle.begin(), circle.end(), from);
      if (at == circle.end() || *at != from) refuse("an exchanged message is of another member");
      from = static_cast<int>(at - circle.begin());
    }
    if (const auto taken = parts.on_message(from, m.body().slice(head_bytes, m.body().size() - head_bytes)); !taken.ok())
      refuse(taken.error().message());
  }
  if (parts.left() > 0) owner_->leave({id_, in.tag}, parts.left());
}

P2PDVM_DECL task<payload> group::run_by_peers(const collective& in, payload mine, part_exchange::combining combine) {
  const peer_groups& groups = network_->groups();
  const tree_order order = order_of_peer();
  std::vector<payload> parts = co_await gather_at_first(in, order, std::move(mine));
  payload whole;
  if (order.place == 0) {
    byte_vector own;
    append_parts(own, parts);
    const bool combined = static_cast<bool>(combine);
    part_exchange all(groups.plan(), static_cast<int>(groups.group_of(self_)), bytes_of(in.mine.head),
                      payload(std::move(own)), std::move(combine));
    co_await run(in, all, groups.leaders());
    byte_vector bytes(to_vector(bytes_of(in.mine.head)));
    if (combined) {
      append(bytes, all.take_result().view());
    } else {
      append_parts(bytes, all.take_parts());
    }
    whole = payload(std::move(bytes));
  }
  co_await give_from_first(in, order, whole);
  co_return whole.slice(head_bytes, whole.size() - head_bytes);
}

P2PDVM_DECL task<> group::combine_all(const collective& in, way how, accumulator* value) {
  const combining combine(*this, in, value);
  payload mine = value == nullptr ? payload() : payload::copy_of(*value->elements());
  payload result;
  if (how == way::by_peers) {
    part_exchange::combining of_peers = combining_by_peers(network_->groups(), combine);
    result = co_await run_by_peers(in, std::move(mine), std::move(of_peers));
  } else {
    part_exchange all(network_->plan(), self_, bytes_of(in.mine.head), std::move(mine), combine);
    const std::vector<int> everybody;
    co_await run(in, all, everybody);
    result = all.take_result();
  }
  if (value == nullptr) co_return;
  value->replace(in.mine, {in.mine.head, result.view(), self_, job_rank(self_), &owner_->rank()});
}

P2PDVM_DECL task<std::vector<payload>> group::exchange(const collective& in, way how, payload mine) {
  part_exchange::combining none;
  if (how != way::by_peers) {
    part_exchange all(network_->plan(), self_, bytes_of(in.mine.head), std::move(mine), std::move(none));
    const std::vector<int> everybody;
    co_await run(in, all, everybody);
    co_return all.take_parts();
  }
  const payload whole = co_await run_by_peers(in, std::move(mine), std::move(none));
  const std::vector<payload> by_peer = all_parts_of(whole, 0);
  if (by_peer.size() != network_->groups().leaders().size()) refuse("a gathered message is damaged");
  co_return by_member(network_->groups(), by_peer);
}

P2PDVM_DECL task<std::vector<payload>> group::gather_at_first(const collective& in, const tree_order& order,
                                                              payload mine) {
  std::vector<payload> parts(1, std::move(mine));  // of this member and those after it
  for (int k = 1; k < order.size; k *= 2) {
    if ((order.place & k) != 0) {
      byte_vector bundle;
      append_parts(bundle, parts);
      put(in, order.member(order.place - k), bundle);
      co_return std::vector<payload>();
    }
    if (order.place + k >= order.size) continue;
    const peal::message m = co_await take(in, order.member(order.place + k));
    add_parts(parts, m, std::min(k, order.size - order.place - k));
  }
  co_return parts;
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

P2PDVM_DECL task<std::vector<payload>> group::gather(call c, payload mine) {
  const collective in(*this, c);
  const tree_order order = order_from(c.head.root);
  std::vector<payload> parts = co_await gather_at_first(in, order, std::move(mine));
  if (order.place == 0) std::rotate(parts.begin(), parts.end() - order.root, parts.end());
  co_return parts;
}

P2PDVM_DECL task<std::vector<payload>> group::allgather(call c, payload mine) {
  collective in(*this, c);
  if (!knows_network()) co_await know_network(in);
  // Sizes may differ; the exchange moves no more bytes than the rounds do.
  const way how = choose(in, collective_task::kind::allgather, 0);
  std::vector<payload> parts;
  if (how == way::exchange || how == way::by_peers) {
    parts = co_await exchange(in, how, std::move(mine));
  } else {
    parts = co_await allgather_in_rounds(in, std::move(mine));
  }
  in.done();
  co_return parts;
}

P2PDVM_DECL task<std::vector<payload>> group::allgather_in_rounds(const collective& in, payload mine) {
  std::vector<payload> parts(1, std::move(mine));  // of self, self + 1, …
  for (int k = 1; k < size_; k *= 2) {
    const int more = std::min(k, size_ - k);
    byte_vector bundle;
    const std::vector<payload> first(parts.begin(), parts.begin() + more);
    append_parts(bundle, first);
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

P2PDVM_DECL task<std::vector<payload>> group::exchange_some(call c, std::vector<std::pair<int, payload>> parts,
                                                            std::vector<int> sources) {
  const collective in(*this, c);
  for (const auto& [to, part] : parts) put(in, to, part.view());
  std::vector<payload> got;
  for (const int from : sources) {
    const peal::message m = co_await take(in, from);
    got.push_back(m.body().slice(head_bytes, m.body().size() - head_bytes));
  }
  co_return got;
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
  std::vector<int> places;
  int self = 0;
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    if (chosen[i].second == self_) self = static_cast<int>(i);
    places.push_back(chosen[i].second);
    members.push_back(job_rank(chosen[i].second));
  }
  auto made = std::make_shared<group>(owner_, id, std::move(members), self);
  made->knowledge_ = knowledge_;
  if (network_) made->network_ = std::make_unique<known_network>(network_->view().among(places));
  co_return made;
}

}  // namespace p2pdvm::mpi::detail
