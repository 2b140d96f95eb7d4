#include "communicator.hpp"

#include "call.hpp"
#include "collective.hpp"

#include <p2pdvm/runtime/native_files.hpp>

#include <fmt/core.h>

#include <algorithm>
#include <numeric>

namespace p2pdvm::c_mpi {

namespace {

std::vector<int> ranks_in(const mpi::detail::group& core) {
  if (!core.members().empty()) return core.members();
  std::vector<int> all(static_cast<std::size_t>(core.size()));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

struct predefined_communicators {
  ref<communicator> world, self;
};
predefined_communicators& always_there() {
  static predefined_communicators* const both = new predefined_communicators;
  return *both;
}

}  // namespace

communicator::communicator(core_pointer core)
    : core_(std::move(core)), local_(ref<group>::adopt(new group(ranks_in(*core_)))), peers_(local_.get()), rank_(core_->self()) {
  set_peers();
}

communicator::communicator(core_pointer core, ref<group> local, ref<group> remote, bool local_first)
    : core_(std::move(core)),
      local_(std::move(local)),
      remote_(std::move(remote)),
      peers_(remote_.get()),
      local_first_(local_first),
      rank_(local_->place_of(here().world_rank())) {
  set_peers();
}

void communicator::set_peers() {
  space_ = here().space(core_->id() * 2);
  bool same = true;
  for (int i = 0; i < peers_->size(); ++i) same = same && peers_->ranks()[static_cast<std::size_t>(i)] == i;
  if (same && peers_->size() == here().world_size()) return;
  places_.assign(static_cast<std::size_t>(here().world_size()), MPI_UNDEFINED);
  for (int i = 0; i < peers_->size(); ++i) places_[static_cast<std::size_t>(job_rank(i))] = i;
}

void communicator::refuse_peer(int peer, const char* what) const {
  fail(MPI_ERR_RANK, fmt::format("the {} is rank {}, but {} ranks 0 to {}", what, peer,
                                 between_groups() ? "the other group has" : "the communicator has", peers() - 1));
}

void communicator::begin(task<> work, std::function<void(std::exception_ptr)> ended) {
  waiting_.push_back({std::move(work), std::move(ended)});
  if (!running_) begin_next();
}

void communicator::begin_next() {
  waiting next = std::move(waiting_.front());
  waiting_.pop_front();
  running_ = true;
  ref<communicator> self(*this);
  here().spawn(std::move(next.work), [self, ended = std::move(next.ended)](std::exception_ptr failed) {
    self->running_ = false;
    if (!self->waiting_.empty()) self->begin_next();
    ended(std::move(failed));
  });
}

communicator& communicator_of(MPI_Comm handle) {
  if (handle == MPI_COMM_WORLD) return *always_there().world;
  if (handle == MPI_COMM_SELF) return *always_there().self;
  if (handle == MPI_COMM_NULL) fail(MPI_ERR_COMM, "the communicator is MPI_COMM_NULL");
  if (is_predefined(handle)) fail(MPI_ERR_COMM, "it is no communicator");
  return *reinterpret_cast<communicator*>(handle);
}

communicator& within_one_group(communicator& c) {
  require(!c.between_groups(), MPI_ERR_COMM, "the communicator is between two groups");
  return c;
}

MPI_Comm handle_of(communicator& c) {
  if (&c == always_there().world.get()) return MPI_COMM_WORLD;
  if (&c == always_there().self.get()) return MPI_COMM_SELF;
  return reinterpret_cast<MPI_Comm>(&c);
}

MPI_Comm new_handle(ref<communicator> made) { return made ? reinterpret_cast<MPI_Comm>(made.detach()) : MPI_COMM_NULL; }

void make_predefined_communicators() {
  process& p = here();
  const auto make = [&p](std::uint32_t id, std::vector<int> members, int self, const char* name, communicator* parent) {
    auto core = std::make_shared<mpi::detail::group>(p.context(), id, std::move(members), self);
    auto made = ref<communicator>::adopt(new communicator(std::move(core)));
    made->name = name;
    made->predefined = true;
    made->errors = parent != nullptr ? parent->errors : error_handler_of(MPI_ERRORS_ARE_FATAL);
    return made;
  };
  always_there().world = make(0, {}, p.world_rank(), "MPI_COMM_WORLD", nullptr);
  always_there().self = make(1, {p.world_rank()}, 0, "MPI_COMM_SELF", nullptr);
  p.context()->take_id(1);
}

void drop_predefined_communicators() {
  delete_attributes(always_there().self->attributes, MPI_COMM_SELF);
  delete_attributes(always_there().world->attributes, MPI_COMM_WORLD);
  always_there().self = {};
  always_there().world = {};
}

namespace {

/// A new one like another, which inherits what the standard says.
ref<communicator> like(communicator& parent, communicator::core_pointer core) {
  if (!core) return {};
  ref<communicator> made = ref<communicator>::adopt(new communicator(std::move(core)));
  made->errors = parent.errors;
  return made;
}

ref<communicator> between(communicator& parent, communicator::core_pointer core, std::vector<int> local, std::vector<int> remote,
                          bool local_first) {
  ref<communicator> made = ref<communicator>::adopt(
      new communicator(std::move(core), ref<group>::adopt(new group(std::move(local))), ref<group>::adopt(new group(std::move(remote))), local_first));
  made->errors = parent.errors;
  return made;
}

mpi::detail::call part_call(mpi::detail::operation what) { return mpi::detail::call(what, std::source_location()); }

/// Collective over a communicator: another with the same ranks.
task<> duplicate(ref<communicator> parent, std::shared_ptr<ref<communicator>> made) {
  communicator::core_pointer core = co_await parent->core().split(part_call(mpi::detail::operation::dup), 0, 0);
  if (parent->between_groups()) {
    *made = between(*parent, std::move(core), parent->local().ranks(), parent->remote().ranks(), parent->local_first());
  } else {
    *made = like(*parent, std::move(core));
  }
}

struct two_numbers {
  std::int32_t colour, key;
};

task<> split_groups(ref<communicator> parent, int colour, int key, std::shared_ptr<ref<communicator>> made) {
  const int part = colour == MPI_UNDEFINED ? -1 : colour;
  if (!parent->between_groups()) {
    *made = like(*parent, co_await parent->core().split(part_call(mpi::detail::operation::split), part, key));
    co_return;
  }
  // Everybody learns the colours of both groups; then those of one colour are one core, in the order of groups, keys and ranks.
  const two_numbers mine{part, key};
  payload said = payload::copy_of(bytes_of(mine));
  const std::vector<payload> all = co_await parent->core().allgather(part_call(mpi::detail::operation::allgather), std::move(said));
  struct placed {
    int key, place, rank;  // of the job
  };
  std::vector<placed> here_side, there_side;
  for (int side = 0; side < 2; ++side) {
    const group& of = side == 0 ? parent->local() : parent->remote();
    for (int i = 0; i < of.size(); ++i) {
      two_numbers theirs{};
      const payload& bytes = all[static_cast<std::size_t>(side == 0 ? parent->core_of_local(i) : parent->core_of_remote(i))];
      std::memcpy(&theirs, bytes.data(), sizeof theirs);
      if (theirs.colour == part) (side == 0 ? here_side : there_side).push_back({theirs.key, i, of.ranks()[static_cast<std::size_t>(i)]});
    }
  }
  const auto sorted = [](std::vector<placed>& some) {
    std::sort(some.begin(), some.end(), [](const placed& a, const placed& b) { return std::pair(a.key, a.place) < std::pair(b.key, b.place); });
    std::vector<int> ranks;
    for (const placed& p : some) ranks.push_back(p.rank);
    return ranks;
  };
  std::vector<int> local = sorted(here_side), remote = sorted(there_side);
  const auto mine_at = std::find(local.begin(), local.end(), here().world_rank()) - local.begin();
  const int place = static_cast<int>(mine_at) + (parent->local_first() ? 0 : static_cast<int>(remote.size()));
  const int core_colour = part < 0 || remote.empty() ? -1 : part;
  communicator::core_pointer core = co_await parent->core().split(part_call(mpi::detail::operation::split), core_colour, place);
  if (core) *made = between(*parent, std::move(core), std::move(local), std::move(remote), parent->local_first());
}

/// Collective over both groups: one group, this one's members first or last.
task<> merge_groups(ref<communicator> parent, bool high, std::shared_ptr<ref<communicator>> made) {
  const std::int32_t said = high ? 1 : 0;
  payload mine = payload::copy_of(bytes_of(said));
  const std::vector<payload> all = co_await parent->core().allgather(part_call(mpi::detail::operation::allgather), std::move(mine));
  std::int32_t other = 0;
  std::memcpy(&other, all[static_cast<std::size_t>(parent->core_of_remote(0))].data(), sizeof other);
  const bool first = said == other ? parent->local_first() : said < other;
  const int key = parent->rank() + (first ? 0 : parent->peers());
  *made = like(*parent, co_await parent->core().split(part_call(mpi::detail::operation::split), 0, key));
}

/// What the leaders of two groups tell each other.
byte_vector encoded(std::uint32_t id, const std::vector<int>& ranks) {
  byte_vector bytes(to_vector(bytes_of(id)));
  append(bytes, std::as_bytes(std::span(ranks)));
  return bytes;
}

task<> connect_groups(ref<communicator> local, int leader, ref<communicator> bridge, int remote_leader, int tag,
                      std::shared_ptr<ref<communicator>> made) {
  const auto context = here().context();
  const std::uint32_t next = context->next_id();
  payload mine = payload::copy_of(bytes_of(next));
  const std::vector<payload> ids = co_await local->core().allgather(part_call(mpi::detail::operation::allgather), std::move(mine));
  std::uint32_t id = 0;
  for (const payload& p : ids) {
    std::uint32_t theirs = 0;
    std::memcpy(&theirs, p.data(), sizeof theirs);
    id = std::max(id, theirs);
  }
  payload told;
  if (local->rank() == leader) {
    const std::uint32_t space = making_space | bridge->core().id();
    const int to = bridge->job_rank(remote_leader);
    payload all(encoded(id, local->local().ranks()));
    here().port().post_send(to, tag, std::move(all), space);
    const peal::message m = co_await here().port().receive(to, tag, space);
    told = m.body();
  }
  mpi::detail::call c = part_call(mpi::detail::operation::bcast).with_root(leader).with_data(mpi::detail::format::elements, 1);
  byte_vector bytes(to_vector(told.view()));
  const mpi::detail::target into = mpi::detail::target_of(bytes);
  co_await local->core().broadcast(c, into);
  std::uint32_t theirs = 0;
  std::memcpy(&theirs, bytes.data(), sizeof theirs);
  std::vector<int> remote((bytes.size() - sizeof theirs) / sizeof(int));
  std::memcpy(remote.data(), bytes.data() + sizeof theirs, remote.size() * sizeof(int));
  id = std::max(id, theirs);
  context->take_id(id);
  std::vector<int> own = local->local().ranks();
  const bool first = own.front() < remote.front();
  std::vector<int> members = first ? own : remote;
  const std::vector<int>& second = first ? remote : own;
  members.insert(members.end(), second.begin(), second.end());
  const int self = local->rank() + (first ? 0 : static_cast<int>(remote.size()));
  auto core = std::make_shared<mpi::detail::group>(context, id, std::move(members), self);
  *made = between(*local, std::move(core), std::move(own), std::move(remote), first);
}

/// Collective over the members of a group alone: the first of them collects what numbers are free.
task<> from_group(ref<communicator> parent, ref<group> members, int tag, std::shared_ptr<ref<communicator>> made) {
  const auto context = here().context();
  const std::uint32_t space = making_space | parent->core().id();
  const int self = members->place_of(here().world_rank());
  std::uint32_t id = context->next_id();
  const int first = members->ranks().front();
  if (self != 0) {
    payload mine = payload::copy_of(bytes_of(id));
    here().port().post_send(first, tag, std::move(mine), space);
    const peal::message m = co_await here().port().receive(first, tag, space);
    std::memcpy(&id, m.body().data(), sizeof id);
  } else {
    for (int i = 1; i < members->size(); ++i) {
      const peal::message m = co_await here().port().receive(members->ranks()[static_cast<std::size_t>(i)], tag, space);
      std::uint32_t theirs = 0;
      std::memcpy(&theirs, m.body().data(), sizeof theirs);
      id = std::max(id, theirs);
    }
    for (int i = 1; i < members->size(); ++i) {
      payload all = payload::copy_of(bytes_of(id));
      here().port().post_send(members->ranks()[static_cast<std::size_t>(i)], tag, std::move(all), space);
    }
  }
  context->take_id(id);
  std::vector<int> ranks = members->ranks();
  *made = like(*parent, std::make_shared<mpi::detail::group>(context, id, std::move(ranks), self));
}

using made_pointer = std::shared_ptr<ref<communicator>>;

ref<communicator> made_by(communicator& over, task<> work, const made_pointer& made) {
  run(over, std::move(work));
  return std::move(*made);
}

void copy_hints(communicator& from, communicator& to, const info* given) {
  if (given != nullptr) {
    to.hints = ref<info>::adopt(new info(given->pairs()));
  } else if (from.hints) {
    to.hints = ref<info>::adopt(new info(from.hints->pairs()));
  }
}

/// With the attributes that their functions let through.
MPI_Comm duplicated(communicator& c, const info* given, bool with_hints) {
  const auto made = std::make_shared<ref<communicator>>();
  ref<communicator> copy = made_by(c, duplicate(ref<communicator>(c), made), made);
  copy->shape = c.shape;
  if (with_hints) copy_hints(c, *copy, given);
  copy_attributes(c.attributes, handle_of(c), copy->attributes);
  return new_handle(std::move(copy));
}

}  // namespace

ref<communicator> split(communicator& c, int colour, int key) {
  const auto made = std::make_shared<ref<communicator>>();
  return made_by(c, split_groups(ref<communicator>(c), colour, key, made), made);
}

ref<communicator> private_copy(communicator& c) {
  const auto made = std::make_shared<ref<communicator>>();
  ref<communicator> copy = made_by(c, duplicate(ref<communicator>(c), made), made);
  copy->shape = c.shape;
  return copy;
}

P2PDVM_FUNCTION(Comm_size)(MPI_Comm comm, int* size) {
  return call_on(comm, "MPI_Comm_size", [&](communicator& c) {
    require(size != nullptr, MPI_ERR_ARG, "an address is null");
    *size = c.size();
  });
}

P2PDVM_FUNCTION(Comm_rank)(MPI_Comm comm, int* rank) {
  return call_on(comm, "MPI_Comm_rank", [&](communicator& c) {
    require(rank != nullptr, MPI_ERR_ARG, "an address is null");
    *rank = c.rank();
  });
}

P2PDVM_FUNCTION(Comm_remote_size)(MPI_Comm comm, int* size) {
  return call_on(comm, "MPI_Comm_remote_size", [&](communicator& c) {
    require(c.between_groups(), MPI_ERR_COMM, "the communicator has one group");
    *size = c.peers();
  });
}

P2PDVM_FUNCTION(Comm_test_inter)(MPI_Comm comm, int* flag) {
  return call_on(comm, "MPI_Comm_test_inter", [&](communicator& c) { *flag = c.between_groups() ? 1 : 0; });
}

P2PDVM_FUNCTION(Comm_group)(MPI_Comm comm, MPI_Group* result) {
  return call_on(comm, "MPI_Comm_group", [&](communicator& c) { *result = new_handle(ref<group>(c.local())); });
}

P2PDVM_FUNCTION(Comm_remote_group)(MPI_Comm comm, MPI_Group* result) {
  return call_on(comm, "MPI_Comm_remote_group", [&](communicator& c) {
    require(c.between_groups(), MPI_ERR_COMM, "the communicator has one group");
    *result = new_handle(ref<group>(c.remote()));
  });
}

P2PDVM_FUNCTION(Comm_compare)(MPI_Comm comm1, MPI_Comm comm2, int* result) {
  return call_on(comm1, "MPI_Comm_compare", [&](communicator& a) {
    communicator& b = communicator_of(comm2);
    const auto compare = [](const group& x, const group& y) {
      if (x.ranks() == y.ranks()) return MPI_CONGRUENT;
      return std::is_permutation(x.ranks().begin(), x.ranks().end(), y.ranks().begin(), y.ranks().end()) ? MPI_SIMILAR : MPI_UNEQUAL;
    };
    if (&a == &b) {
      *result = MPI_IDENT;
    } else if (a.between_groups() != b.between_groups()) {
      *result = MPI_UNEQUAL;
    } else {
      const int local = compare(a.local(), b.local());
      *result = a.between_groups() ? std::max<int>(local, compare(a.remote(), b.remote())) : local;
    }
  });
}

P2PDVM_FUNCTION(Comm_dup)(MPI_Comm comm, MPI_Comm* newcomm) {
  return call_on(comm, "MPI_Comm_dup", [&](communicator& c) {
    *newcomm = MPI_COMM_NULL;
    *newcomm = duplicated(c, nullptr, true);
  });
}

P2PDVM_FUNCTION(Comm_dup_with_info)(MPI_Comm comm, MPI_Info given, MPI_Comm* newcomm) {
  return call_on(comm, "MPI_Comm_dup_with_info", [&](communicator& c) {
    *newcomm = MPI_COMM_NULL;
    const info* const hints = info_or_none(given);
    *newcomm = duplicated(c, hints, hints != nullptr);
  });
}

namespace {

/// A communicator that is made while the program goes on: it is filled in when the request is complete.
void duplicate_meanwhile(communicator& c, const info* given, bool with_hints, MPI_Comm* newcomm, MPI_Request* request) {
  const auto made = std::make_shared<ref<communicator>>();
  // The functions of attributes are the program's: they are called here, where it calls.
  auto copied = std::make_shared<attribute_list>();
  copy_attributes(c.attributes, handle_of(c), *copied);
  std::vector<std::pair<std::string, std::string>> hints;
  if (with_hints && given != nullptr) hints = given->pairs();
  if (with_hints && given == nullptr && c.hints) hints = c.hints->pairs();
  ref<communicator> parent(c);
  begin(c, duplicate(parent, made), request, [made, copied, hints, parent, newcomm] {
    (*made)->shape = parent->shape;
    (*made)->attributes = std::move(*copied);
    if (!hints.empty()) (*made)->hints = ref<info>::adopt(new info(hints));
    *newcomm = new_handle(std::move(*made));
  });
}

}  // namespace

P2PDVM_FUNCTION(Comm_idup)(MPI_Comm comm, MPI_Comm* newcomm, MPI_Request* request) {
  return call_on(comm, "MPI_Comm_idup", [&](communicator& c) { duplicate_meanwhile(c, nullptr, true, newcomm, request); });
}

P2PDVM_FUNCTION(Comm_idup_with_info)(MPI_Comm comm, MPI_Info given, MPI_Comm* newcomm, MPI_Request* request) {
  return call_on(comm, "MPI_Comm_idup_with_info", [&](communicator& c) {
    const info* const hints = info_or_none(given);
    duplicate_meanwhile(c, hints, hints != nullptr, newcomm, request);
  });
}

P2PDVM_FUNCTION(Comm_split)(MPI_Comm comm, int color, int key, MPI_Comm* newcomm) {
  return call_on(comm, "MPI_Comm_split", [&](communicator& c) {
    require(color >= 0 || color == MPI_UNDEFINED, MPI_ERR_ARG, "a colour is 0 or more, or MPI_UNDEFINED");
    require(newcomm != nullptr, MPI_ERR_ARG, "an address is null");
    *newcomm = new_handle(split(c, color, key));
  });
}

namespace {

/// The first rank that runs on the same computer as this one.
task<> find_neighbour(ref<communicator> c, std::shared_ptr<int> first) {
  const std::string mine = runtime::machine_name();
  payload said = payload::copy_of(as_bytes(mine));
  const std::vector<payload> all = co_await c->core().allgather(part_call(mpi::detail::operation::allgather), std::move(said));
  const auto same = [&mine](const payload& theirs) {
    return theirs.size() == mine.size() && std::memcmp(theirs.data(), mine.data(), mine.size()) == 0;
  };
  *first = static_cast<int>(std::find_if(all.begin(), all.end(), same) - all.begin());
}

}  // namespace

P2PDVM_FUNCTION(Comm_split_type)(MPI_Comm comm, int split_type, int key, MPI_Info, MPI_Comm* newcomm) {
  return call_on(comm, "MPI_Comm_split_type", [&](communicator& c) {
    (void)within_one_group(c);
    int colour = MPI_UNDEFINED;
    const auto first = std::make_shared<int>();
    run(c, find_neighbour(ref<communicator>(c), first));
    switch (split_type) {
      case MPI_COMM_TYPE_SHARED: colour = *first; break;
      case MPI_COMM_TYPE_HW_GUIDED:
      case MPI_COMM_TYPE_HW_UNGUIDED:
      case MPI_COMM_TYPE_RESOURCE_GUIDED:  // nothing is known of hardware: no part of it has a communicator
      case MPI_UNDEFINED: break;
      default: fail(MPI_ERR_ARG, "it is no way to split");
    }
    *newcomm = new_handle(split(c, colour, key));
  });
}

P2PDVM_FUNCTION(Comm_create)(MPI_Comm comm, MPI_Group members, MPI_Comm* newcomm) {
  return call_on(comm, "MPI_Comm_create", [&](communicator& c) {
    const group& some = group_of(members);
    for (const int r : some.ranks())
      require(c.local().place_of(r) != MPI_UNDEFINED, MPI_ERR_GROUP, "the group has ranks that are not in the communicator");
    const int place = some.place_of(here().world_rank());
    // Groups that have no rank in common may be made at once: each is known by its first rank.
    const int colour = place == MPI_UNDEFINED ? place : c.between_groups() ? 0 : c.local().place_of(some.ranks().front());
    *newcomm = new_handle(split(c, colour, place));
  });
}

P2PDVM_FUNCTION(Comm_create_group)(MPI_Comm comm, MPI_Group members, int tag, MPI_Comm* newcomm) {
  return call_on(comm, "MPI_Comm_create_group", [&](communicator& c) {
    group& some = group_of(members);
    *newcomm = MPI_COMM_NULL;
    if (some.place_of(here().world_rank()) == MPI_UNDEFINED) return;
    const auto made = std::make_shared<ref<communicator>>();
    wait_for(from_group(ref<communicator>(c), ref<group>(some), tag, made));
    *newcomm = new_handle(std::move(*made));
  });
}

P2PDVM_FUNCTION(Intercomm_create)(MPI_Comm local_comm, int local_leader, MPI_Comm peer_comm, int remote_leader, int tag, MPI_Comm* newintercomm) {
  return call_on(local_comm, "MPI_Intercomm_create", [&](communicator& c) {
    (void)within_one_group(c);
    require(local_leader >= 0 && local_leader < c.size(), MPI_ERR_RANK, "there is no such leader");
    require(tag >= 0, MPI_ERR_TAG, "tags are 0 or more");
    ref<communicator> bridge;
    if (c.rank() == local_leader) {
      bridge = ref<communicator>(communicator_of(peer_comm));
      bridge->check_peer(remote_leader, "leader of the other group");
    }
    const auto made = std::make_shared<ref<communicator>>();
    *newintercomm = new_handle(made_by(c, connect_groups(ref<communicator>(c), local_leader, bridge, remote_leader, tag, made), made));
  });
}

P2PDVM_FUNCTION(Intercomm_merge)(MPI_Comm intercomm, int high, MPI_Comm* newintracomm) {
  return call_on(intercomm, "MPI_Intercomm_merge", [&](communicator& c) {
    require(c.between_groups(), MPI_ERR_COMM, "the communicator has one group");
    const auto made = std::make_shared<ref<communicator>>();
    *newintracomm = new_handle(made_by(c, merge_groups(ref<communicator>(c), high != 0, made), made));
  });
}

P2PDVM_FUNCTION(Comm_free)(MPI_Comm* comm) {
  if (comm == nullptr) return call("MPI_Comm_free", [] { fail(MPI_ERR_ARG, "an address is null"); });
  return call_on(*comm, "MPI_Comm_free", [&](communicator& c) {
    require(!c.predefined, MPI_ERR_COMM, "this communicator is always there");
    delete_attributes(c.attributes, *comm);
    c.release();
    *comm = MPI_COMM_NULL;
  });
}

P2PDVM_FUNCTION(Comm_disconnect)(MPI_Comm* comm) {
  return call_on(*comm, "MPI_Comm_disconnect", [&](communicator& c) {
    require(!c.predefined, MPI_ERR_COMM, "this communicator is always there");
    here().wait([&c] { return !c.busy(); });
    delete_attributes(c.attributes, *comm);
    c.release();
    *comm = MPI_COMM_NULL;
  });
}

P2PDVM_FUNCTION(Comm_set_name)(MPI_Comm comm, const char* text) {
  return call_on(comm, "MPI_Comm_set_name", [&](communicator& c) { c.name = std::string(text).substr(0, MPI_MAX_OBJECT_NAME - 1); });
}

P2PDVM_FUNCTION(Comm_get_name)(MPI_Comm comm, char* text, int* length) {
  if (comm == MPI_COMM_NULL) {
    *length = static_cast<int>(std::strlen(std::strcpy(text, "MPI_COMM_NULL")));
    return MPI_SUCCESS;
  }
  return call_on(comm, "MPI_Comm_get_name", [&](communicator& c) {
    std::memcpy(text, c.name.c_str(), c.name.size() + 1);
    *length = static_cast<int>(c.name.size());
  });
}

P2PDVM_FUNCTION(Comm_set_info)(MPI_Comm comm, MPI_Info given) {
  return call_on(comm, "MPI_Comm_set_info", [&](communicator& c) {
    const info& from = info_of(given);
    if (!c.hints) c.hints = ref<info>::adopt(new info);
    for (const auto& [key, value] : from.pairs()) c.hints->set(key, value);
  });
}

P2PDVM_FUNCTION(Comm_get_info)(MPI_Comm comm, MPI_Info* used) {
  return call_on(comm, "MPI_Comm_get_info", [&](communicator& c) {
    *used = new_handle(ref<info>::adopt(c.hints ? new info(c.hints->pairs()) : new info));
  });
}

P2PDVM_FUNCTION(Comm_get_parent)(MPI_Comm* parent) {
  return call("MPI_Comm_get_parent", [&] { *parent = MPI_COMM_NULL; });
}

}  // namespace p2pdvm::c_mpi
