/// The collectives: what a call names becomes parts of bytes, which `peal/mpi` moves.
///
/// Each is one coroutine, for the blocking call, the one with a request and the persistent one. Where a communicator is
/// between two groups everybody exchanges with whom it has to directly.
#include "call.hpp"
#include "collective.hpp"
#include "message_arguments.hpp"
#include "operation.hpp"

#include <fmt/core.h>

#include <memory>
#include <vector>

namespace p2pdvm::c_mpi {

namespace {

using kind = mpi::detail::operation;

/// An array of counts or displacements, as the program has it.
class numbers {
 public:
  numbers() = default;
  numbers(const int* values) : small_(values) {}                 // NOLINT: is one
  numbers(const std::int64_t* values) : large_(values) {}        // NOLINT: is one
  [[nodiscard]] explicit operator bool() const noexcept { return small_ != nullptr || large_ != nullptr; }
  [[nodiscard]] MPI_Count operator[](int i) const noexcept { return large_ != nullptr ? static_cast<MPI_Count>(large_[i]) : small_[i]; }

 private:
  const int* small_ = nullptr;
  const std::int64_t* large_ = nullptr;
};
static_assert(sizeof(MPI_Aint) == sizeof(MPI_Count));

/// Elements in one place.
struct extent {
  void* at;
  MPI_Count count;
  datatype* type;
};

/// What a call gives or gets, of one rank or of each.
struct side {
  void* buffer = nullptr;
  MPI_Count count = 0;
  ref<datatype> type;
  numbers counts, displacements;         ///< by rank; else all have `count`, one after the other
  std::vector<ref<datatype>> types;      ///< by rank; then displacements are in bytes
  [[nodiscard]] bool in_place() const noexcept { return buffer == MPI_IN_PLACE; }
  [[nodiscard]] extent all() const noexcept { return {buffer, count, type.get()}; }
  [[nodiscard]] extent of(int i) const noexcept {
    auto* const base = static_cast<std::byte*>(buffer);
    if (!types.empty()) return {base + displacements[i], counts[i], types[static_cast<std::size_t>(i)].get()};
    if (counts) return {base + displacements[i] * type->extent(), counts[i], type.get()};
    return {base + i * count * type->extent(), count, type.get()};
  }
};

struct arguments {
  ref<communicator> over;
  side out, in;
  int root = 0;
  ref<operation> op;
};
using shared_arguments = std::shared_ptr<arguments>;

mpi::detail::call call_of(kind what) { return {what, std::source_location()}; }
mpi::detail::call bytes_call(kind what) { return call_of(what).with_data(mpi::detail::format::elements, 1); }

payload packed_payload(const extent& e) {
  const packed all(e.at, e.count, *e.type);
  return payload::copy_of(all.view());
}

void unpack(const payload& from, const extent& into) {
  const MPI_Count room = into.type->bytes_of(into.count);
  const auto bytes = static_cast<MPI_Count>(from.size());
  into.type->unpack(from.view().first(static_cast<std::size_t>(std::min(bytes, room))), into.at, into.count);
  if (bytes > room) fail(MPI_ERR_TRUNCATE, fmt::format("{} bytes came, but there is room for {}", bytes, room));
}

/// From one place of the program's memory to another.
void copy(const extent& from, const extent& to) {
  const packed all(from.at, from.count, *from.type);
  const auto room = static_cast<std::size_t>(to.type->bytes_of(to.count));
  to.type->unpack(all.view().first(std::min(all.view().size(), room)), to.at, to.count);
  require(all.view().size() <= room, MPI_ERR_TRUNCATE, "the data do not fit");
}

using outgoing_parts = std::vector<std::pair<int, payload>>;

/// Places in the core of all members of the other group.
std::vector<int> other_group(const communicator& c) {
  std::vector<int> all;
  for (int i = 0; i < c.peers(); ++i) all.push_back(c.core_of_remote(i));
  return all;
}

task<std::vector<payload>> exchange(const shared_arguments& a, outgoing_parts parts, std::vector<int> sources) {
  const mpi::detail::call c = bytes_call(kind::exchange);
  return a->over->core().exchange_some(c, std::move(parts), std::move(sources));
}

task<> barrier(shared_arguments a) {
  if (a->over->between_groups()) {
    outgoing_parts parts;
    for (const int to : other_group(*a->over)) parts.emplace_back(to, payload());
    (void)co_await exchange(a, std::move(parts), other_group(*a->over));
    co_return;
  }
  co_await a->over->core().barrier(call_of(kind::barrier));
}

task<> broadcast_between(shared_arguments a) {
  outgoing_parts parts;
  std::vector<int> sources;
  if (a->root == MPI_ROOT) {
    const payload whole = packed_payload(a->in.all());
    for (const int to : other_group(*a->over)) parts.emplace_back(to, whole);
  } else if (a->root != MPI_PROC_NULL) {
    sources.push_back(a->over->core_of_remote(a->root));
  }
  const std::vector<payload> got = co_await exchange(a, std::move(parts), std::move(sources));
  if (!got.empty()) unpack(got.front(), a->in.all());
}

task<> broadcast(shared_arguments a) {
  if (a->over->between_groups()) {
    co_await broadcast_between(a);
    co_return;
  }
  const extent e = a->in.all();
  const mpi::detail::call c = call_of(kind::bcast).with_root(a->root);
  const auto bytes = static_cast<std::size_t>(e.type->bytes_of(e.count));
  if (e.type->solid()) {
    auto* const first = static_cast<std::byte*>(e.at) + (bytes > 0 ? e.type->true_lower() : 0);
    const mpi::detail::target into = mpi::detail::target_range(std::span(first, bytes));
    co_await a->over->core().broadcast(c, into);
    co_return;
  }
  byte_vector copied(bytes);
  e.type->pack(e.at, e.count, copied.data());
  const mpi::detail::target into = mpi::detail::target_range(std::span(copied));
  co_await a->over->core().broadcast(c, into);
  e.type->unpack(copied, e.at, e.count);
}

task<> gather_between(shared_arguments a) {
  outgoing_parts parts;
  std::vector<int> sources;
  if (a->root == MPI_ROOT) {
    sources = other_group(*a->over);
  } else if (a->root != MPI_PROC_NULL) {
    parts.emplace_back(a->over->core_of_remote(a->root), packed_payload(a->out.all()));
  }
  const std::vector<payload> got = co_await exchange(a, std::move(parts), std::move(sources));
  for (std::size_t i = 0; i < got.size(); ++i) unpack(got[i], a->in.of(static_cast<int>(i)));
}

task<> gather(shared_arguments a) {
  if (a->over->between_groups()) {
    co_await gather_between(a);
    co_return;
  }
  const bool own_there = a->out.in_place();
  payload mine = own_there ? payload() : packed_payload(a->out.all());
  const mpi::detail::call c = bytes_call(kind::gather).with_root(a->root);
  const std::vector<payload> got = co_await a->over->core().gather(c, std::move(mine));
  if (a->over->rank() != a->root) co_return;
  for (int i = 0; i < a->over->size(); ++i) {
    if (i != a->root || !own_there) unpack(got[static_cast<std::size_t>(i)], a->in.of(i));
  }
}

task<> scatter_between(shared_arguments a) {
  outgoing_parts parts;
  std::vector<int> sources;
  if (a->root == MPI_ROOT) {
    for (int i = 0; i < a->over->peers(); ++i) parts.emplace_back(a->over->core_of_remote(i), packed_payload(a->out.of(i)));
  } else if (a->root != MPI_PROC_NULL) {
    sources.push_back(a->over->core_of_remote(a->root));
  }
  const std::vector<payload> got = co_await exchange(a, std::move(parts), std::move(sources));
  if (!got.empty()) unpack(got.front(), a->in.all());
}

task<> scatter(shared_arguments a) {
  if (a->over->between_groups()) {
    co_await scatter_between(a);
    co_return;
  }
  std::vector<payload> parts;
  const bool own_stays = a->in.in_place();
  if (a->over->rank() == a->root) {
    for (int i = 0; i < a->over->size(); ++i) parts.push_back(i == a->root && own_stays ? payload() : packed_payload(a->out.of(i)));
  }
  const mpi::detail::call c = bytes_call(kind::scatter).with_root(a->root);
  const payload mine = co_await a->over->core().scatter(c, std::move(parts));
  if (!own_stays) unpack(mine, a->in.all());
}

task<> allgather(shared_arguments a) {
  if (a->over->between_groups()) {
    outgoing_parts parts;
    const payload mine = packed_payload(a->out.all());
    for (const int to : other_group(*a->over)) parts.emplace_back(to, mine);
    const std::vector<payload> got = co_await exchange(a, std::move(parts), other_group(*a->over));
    for (std::size_t i = 0; i < got.size(); ++i) unpack(got[i], a->in.of(static_cast<int>(i)));
    co_return;
  }
  const int self = a->over->rank();
  const bool own_there = a->out.in_place();
  payload mine = packed_payload(own_there ? a->in.of(self) : a->out.all());
  const mpi::detail::call c = bytes_call(kind::allgather);
  const std::vector<payload> got = co_await a->over->core().allgather(c, std::move(mine));
  for (int i = 0; i < a->over->size(); ++i) {
    if (i != self || !own_there) unpack(got[static_cast<std::size_t>(i)], a->in.of(i));
  }
}

task<> alltoall(shared_arguments a) {
  const side& given = a->out.in_place() ? a->in : a->out;
  if (a->over->between_groups()) {
    outgoing_parts parts;
    for (int i = 0; i < a->over->peers(); ++i) parts.emplace_back(a->over->core_of_remote(i), packed_payload(given.of(i)));
    const std::vector<payload> got = co_await exchange(a, std::move(parts), other_group(*a->over));
    for (std::size_t i = 0; i < got.size(); ++i) unpack(got[i], a->in.of(static_cast<int>(i)));
    co_return;
  }
  std::vector<payload> parts;
  for (int i = 0; i < a->over->size(); ++i) parts.push_back(packed_payload(given.of(i)));
  const mpi::detail::call c = bytes_call(kind::alltoall);
  const std::vector<payload> got = co_await a->over->core().alltoall(c, std::move(parts));
  for (int i = 0; i < a->over->size(); ++i) unpack(got[static_cast<std::size_t>(i)], a->in.of(i));
}

// --- reductions ---

mpi::detail::call reduction_call(kind what, const arguments& a) {
  const auto bytes = static_cast<std::size_t>(std::max<MPI_Count>(a.in.type->size(), 1));
  mpi::detail::call c = call_of(what).with_data(mpi::detail::format::elements, bytes);
  c.head.reduction = a.op->number();
  return c;
}

std::vector<byte_view> views_of(const std::vector<payload>& parts) {
  std::vector<byte_view> views;
  for (const payload& p : parts) views.push_back(p.view());
  return views;
}

/// What came is of the length that was wanted.
void check_lengths(const std::vector<payload>& got, const extent& wanted) {
  const auto bytes = static_cast<std::size_t>(wanted.type->bytes_of(wanted.count));
  for (const payload& p : got) {
    if (p.size() != bytes) fail(MPI_ERR_TRUNCATE, fmt::format("{} bytes came where {} are reduced", p.size(), bytes));
  }
}

/// `into` becomes what the parts combine to.
void fold(const arguments& a, const std::vector<payload>& got, const extent& into) {
  check_lengths(got, into);
  reduced value(*a.op, *into.type, into.at, into.count);
  value.fold_views(views_of(got), 0, static_cast<std::size_t>(into.count));
  value.finish();
}

task<> reduce_between(shared_arguments a) {
  outgoing_parts parts;
  std::vector<int> sources;
  if (a->root == MPI_ROOT) {
    sources = other_group(*a->over);
  } else if (a->root != MPI_PROC_NULL) {
    parts.emplace_back(a->over->core_of_remote(a->root), packed_payload(a->out.all()));
  }
  const std::vector<payload> got = co_await exchange(a, std::move(parts), std::move(sources));
  if (!got.empty()) fold(*a, got, a->in.all());
}

task<> reduce(shared_arguments a) {
  if (a->over->between_groups()) {
    co_await reduce_between(a);
    co_return;
  }
  const bool is_root = a->over->rank() == a->root;
  const MPI_Count count = a->out.count;
  datatype& type = *a->out.type;
  const mpi::detail::call c = reduction_call(kind::reduce, *a).with_root(a->root);
  if (is_root) {
    if (!a->out.in_place()) copy(a->out.all(), a->in.all());
    reduced value(*a->op, type, a->in.buffer, count);
    co_await a->over->core().reduce(c, value);
    value.finish();
    co_return;
  }
  element_memory own(count, type);
  copy(a->out.all(), {own.at(), count, &type});
  reduced value(*a->op, type, own.at(), count);
  co_await a->over->core().reduce(c, value);
}

/// To everybody the combined parts of all of the other group.
task<> allreduce_between(shared_arguments a) {
  outgoing_parts parts;
  const payload mine = packed_payload(a->out.all());
  for (const int to : other_group(*a->over)) parts.emplace_back(to, mine);
  const std::vector<payload> got = co_await exchange(a, std::move(parts), other_group(*a->over));
  fold(*a, got, a->in.all());
}

task<> allreduce(shared_arguments a) {
  if (a->over->between_groups()) {
    co_await allreduce_between(a);
    co_return;
  }
  if (!a->out.in_place()) copy(a->out.all(), a->in.all());
  reduced value(*a->op, *a->in.type, a->in.buffer, a->in.count);
  const mpi::detail::call c = reduction_call(kind::allreduce, *a);
  co_await a->over->core().allreduce(c, value);
  value.finish();
}

task<> scan(shared_arguments a) {
  if (!a->out.in_place()) copy(a->out.all(), a->in.all());
  reduced value(*a->op, *a->in.type, a->in.buffer, a->in.count);
  const mpi::detail::call c = reduction_call(kind::scan, *a);
  co_await a->over->core().scan(c, value);
  value.finish();
}

task<> exscan(shared_arguments a) {
  const MPI_Count count = a->in.count;
  datatype& type = *a->in.type;
  element_memory own(count, type);
  copy(a->out.in_place() ? a->in.all() : a->out.all(), {own.at(), count, &type});
  reduced value(*a->op, type, own.at(), count);
  const mpi::detail::call c = reduction_call(kind::exscan, *a);
  const bool some = co_await a->over->core().exclusive_scan(c, value);
  value.finish();
  if (some) copy({own.at(), count, &type}, a->in.all());
}

/// `in.counts` or `in.count`: how many elements of the result each member of this group gets.
task<> reduce_scatter(shared_arguments a) {
  const communicator& over = *a->over;
  const side& given = a->out.in_place() ? a->in : a->out;
  std::vector<MPI_Count> firsts{0};
  for (int i = 0; i < over.size(); ++i) firsts.push_back(firsts.back() + (a->in.counts ? a->in.counts[i] : a->in.count));
  datatype& type = *a->in.type;
  const auto at = [&](int member) {
    const auto i = static_cast<std::size_t>(member);
    return extent{static_cast<std::byte*>(given.buffer) + firsts[i] * type.extent(), firsts[i + 1] - firsts[i], &type};
  };
  const extent mine{a->in.buffer, at(over.rank()).count, &type};
  if (over.between_groups()) {
    // The other group's shares are not known here: everybody gets everything and takes its part.
    outgoing_parts parts;
    const payload whole = packed_payload({given.buffer, firsts.back(), &type});
    for (const int to : other_group(over)) parts.emplace_back(to, whole);
    std::vector<payload> got = co_await exchange(a, std::move(parts), other_group(over));
    const auto first = static_cast<std::size_t>(type.bytes_of(firsts[static_cast<std::size_t>(over.rank())]));
    check_lengths(got, {nullptr, firsts.back(), &type});
    for (payload& p : got) p = p.slice(first, static_cast<std::size_t>(type.bytes_of(mine.count)));
    fold(*a, got, mine);
    co_return;
  }
  std::vector<payload> parts;
  for (int i = 0; i < over.size(); ++i) parts.push_back(packed_payload(at(i)));
  const mpi::detail::call c = bytes_call(kind::alltoall);
  const std::vector<payload> got = co_await a->over->core().alltoall(c, std::move(parts));
  fold(*a, got, mine);
}

// --- among neighbours ---

struct neighbours {
  std::vector<int> sources, destinations;  ///< MPI_PROC_NULL among them
  /// On a grid what is sent in one direction comes from the other one, also where both lead to the same rank: so what goes forwards
  /// is sent first, since what comes from behind is received first.
  bool forwards_first = false;
};

neighbours neighbours_of(const communicator& c) {
  const topology& t = c.shape;
  neighbours n;
  if (t.kind == MPI_DIST_GRAPH) {
    n.sources = t.sources;
    n.destinations = t.destinations;
  } else if (t.kind == MPI_GRAPH) {
    const auto r = static_cast<std::size_t>(c.rank());
    const int first = r == 0 ? 0 : t.index[r - 1];
    n.sources.assign(t.edges.begin() + first, t.edges.begin() + t.index[r]);
    n.destinations = n.sources;
  } else if (t.kind == MPI_CART) {
    for (std::size_t d = 0; d < t.dimensions.size(); ++d) {
      for (const int step : {-1, 1}) n.sources.push_back(shifted(c, static_cast<int>(d), step));
    }
    n.destinations = n.sources;
    n.forwards_first = true;
  } else {
    fail(MPI_ERR_TOPOLOGY, "the communicator has no topology");
  }
  return n;
}

/// `part(i)`: what the i-th destination gets; what came from the i-th source goes to `in.of(i)`.
template <class Part>
task<std::vector<payload>> exchange_with_neighbours(const shared_arguments& a, const neighbours& n, Part part) {
  outgoing_parts parts;
  for (std::size_t k = 0; k < n.destinations.size(); ++k) {
    const std::size_t i = n.forwards_first ? k ^ 1 : k;
    if (n.destinations[i] != MPI_PROC_NULL) parts.emplace_back(n.destinations[i], packed_payload(part(static_cast<int>(i))));
  }
  std::vector<int> sources;
  for (const int s : n.sources) {
    if (s != MPI_PROC_NULL) sources.push_back(s);
  }
  return exchange(a, std::move(parts), std::move(sources));
}

void unpack_from_neighbours(const arguments& a, const neighbours& n, const std::vector<payload>& got) {
  std::size_t next = 0;
  for (std::size_t i = 0; i < n.sources.size(); ++i) {
    if (n.sources[i] != MPI_PROC_NULL) unpack(got[next++], a.in.of(static_cast<int>(i)));
  }
}

task<> neighbour_allgather(shared_arguments a) {
  const neighbours n = neighbours_of(*a->over);
  const auto whole = [&a](int) { return a->out.all(); };
  const std::vector<payload> got = co_await exchange_with_neighbours(a, n, whole);
  unpack_from_neighbours(*a, n, got);
}

task<> neighbour_alltoall(shared_arguments a) {
  const neighbours n = neighbours_of(*a->over);
  const auto part = [&a](int i) { return a->out.of(i); };
  const std::vector<payload> got = co_await exchange_with_neighbours(a, n, part);
  unpack_from_neighbours(*a, n, got);
}

// --- arguments ---

/// Where a count is not this rank's to give, or of what kind its use is.
enum class need { always, at_root };

shared_arguments over(communicator& c) {
  auto a = std::make_shared<arguments>();
  a->over = ref<communicator>(c);
  return a;
}

side side_of(const void* buffer, MPI_Count count, MPI_Datatype type) {
  side s;
  s.buffer = const_cast<void*>(buffer);
  s.count = count;
  if (s.in_place()) return s;
  datatype& of = committed_type(type);
  check_buffer(buffer, count, of);
  s.type = ref<datatype>(of);
  return s;
}

side side_of(const void* buffer, numbers counts, numbers displacements, MPI_Datatype type, int ranks) {
  side s;
  s.buffer = const_cast<void*>(buffer);
  if (s.in_place()) return s;
  s.counts = counts;
  s.displacements = displacements;
  s.type = ref<datatype>(committed_type(type));
  require(ranks == 0 || (counts && displacements), MPI_ERR_ARG, "an address is null");
  for (int i = 0; i < ranks; ++i) require(counts[i] >= 0, MPI_ERR_COUNT, "a count is negative");
  return s;
}

side side_of(const void* buffer, numbers counts, numbers displacements, const MPI_Datatype* types, int ranks) {
  side s;
  s.buffer = const_cast<void*>(buffer);
  if (s.in_place()) return s;
  s.counts = counts;
  s.displacements = displacements;
  require(ranks == 0 || (counts && displacements && types != nullptr), MPI_ERR_ARG, "an address is null");
  for (int i = 0; i < ranks; ++i) {
    require(counts[i] >= 0, MPI_ERR_COUNT, "a count is negative");
    s.types.emplace_back(committed_type(types[i]));
  }
  return s;
}

void check_root(const communicator& c, int root) {
  if (root >= 0 && root < c.peers()) return;
  if (c.between_groups() && (root == MPI_ROOT || root == MPI_PROC_NULL)) return;
  fail(MPI_ERR_ROOT, fmt::format("the root is rank {}, but the communicator has ranks 0 to {}", root, c.peers() - 1));
}

/// Whether this rank gives (or, between groups, the other group's members do) or gets as root.
bool acts_as_root(const communicator& c, int root) { return c.between_groups() ? root == MPI_ROOT : root == c.rank(); }
bool acts_as_other(const communicator& c, int root) { return !c.between_groups() || root >= 0; }

void forbid_alias(const void* out, const void* in, bool some) {
  require(out != in || !some || out == nullptr || out == MPI_IN_PLACE, MPI_ERR_BUFFER, "both addresses are the same; see MPI_IN_PLACE");
}

shared_arguments for_root(communicator& c, int root) {
  check_root(c, root);
  shared_arguments a = over(c);
  a->root = root;
  return a;
}

shared_arguments reduction(communicator& c, const void* out, void* in, MPI_Count count, MPI_Datatype type, MPI_Op op) {
  shared_arguments a = over(c);
  a->op = ref<operation>(operation_of(op));
  datatype& of = committed_type(type);
  a->op->check(of);
  require(count >= 0, MPI_ERR_COUNT, "the count is negative");
  forbid_alias(out, in, count > 0);
  a->out.buffer = const_cast<void*>(out);
  a->in.buffer = in;
  a->out.count = a->in.count = count;
  a->out.type = a->in.type = ref<datatype>(of);
  return a;
}

}  // namespace

/// A blocking collective, one with a request, and a persistent one. `prepare` gives the arguments, `body` the coroutine.
#define P2PDVM_LIST(...) __VA_ARGS__
#define P2PDVM_FORMS(name, iname, suffix, parameters, prepare_arguments, body)                                              \
  P2PDVM_FUNCTION(name##suffix)(P2PDVM_LIST parameters, MPI_Comm comm) {                                                    \
    return call_on(comm, "MPI_" #name #suffix, [&](communicator& c) { run(c, body(prepare_arguments)); });                  \
  }                                                                                                                         \
  P2PDVM_FUNCTION(iname##suffix)(P2PDVM_LIST parameters, MPI_Comm comm, MPI_Request* request) {                             \
    return call_on(comm, "MPI_" #iname #suffix, [&](communicator& c) { begin(c, body(prepare_arguments), request); });      \
  }                                                                                                                         \
  P2PDVM_FUNCTION(name##_init##suffix)(P2PDVM_LIST parameters, MPI_Comm comm, MPI_Info, MPI_Request* request) {             \
    return call_on(comm, "MPI_" #name "_init" #suffix, [&](communicator& c) {                                               \
      const shared_arguments a = prepare_arguments;                                                                         \
      a->over = private_copy(c);                                                                                            \
      prepare(c, a->over, [a] { return body(a); }, request);                                                                \
    });                                                                                                                     \
  }

P2PDVM_FUNCTION(Barrier)(MPI_Comm comm) {
  return call_on(comm, "MPI_Barrier", [&](communicator& c) { run(c, barrier(over(c))); });
}
P2PDVM_FUNCTION(Ibarrier)(MPI_Comm comm, MPI_Request* request) {
  return call_on(comm, "MPI_Ibarrier", [&](communicator& c) { begin(c, barrier(over(c)), request); });
}
P2PDVM_FUNCTION(Barrier_init)(MPI_Comm comm, MPI_Info, MPI_Request* request) {
  return call_on(comm, "MPI_Barrier_init", [&](communicator& c) {
    const shared_arguments a = over(c);
    a->over = private_copy(c);
    prepare(c, a->over, [a] { return barrier(a); }, request);
  });
}

namespace {

shared_arguments bcast_arguments(communicator& c, void* buffer, MPI_Count count, MPI_Datatype type, int root) {
  shared_arguments a = for_root(c, root);
  if (root != MPI_PROC_NULL) a->in = side_of(buffer, count, type);
  require(!a->in.in_place(), MPI_ERR_BUFFER, "MPI_IN_PLACE means nothing here");
  return a;
}

/// `all`: of the root, with all ranks' parts; `mine`: of the others, and of the root.
shared_arguments rooted(communicator& c, int root, side all, side mine, bool gathers) {
  shared_arguments a = for_root(c, root);
  if (acts_as_root(c, root)) (gathers ? a->in : a->out) = std::move(all);
  if (acts_as_other(c, root)) (gathers ? a->out : a->in) = std::move(mine);
  require(!(gathers ? a->in : a->out).in_place(), MPI_ERR_BUFFER, "MPI_IN_PLACE means nothing here");
  const bool other_in_place = (gathers ? a->out : a->in).in_place();
  require(!other_in_place || acts_as_root(c, root), MPI_ERR_BUFFER, "only the root may name MPI_IN_PLACE");
  return a;
}

template <class All>
shared_arguments gather_arguments(communicator& c, const void* out, MPI_Count out_count, MPI_Datatype out_type, All all, const void* in, int root) {
  check_root(c, root);
  side whole, mine;
  if (acts_as_root(c, root)) {
    whole = all();
    forbid_alias(out, in, out_count > 0);
  }
  if (acts_as_other(c, root)) mine = side_of(out, out_count, out_type);
  return rooted(c, root, std::move(whole), std::move(mine), true);
}

template <class All>
shared_arguments scatter_arguments(communicator& c, All all, const void* out, void* in, MPI_Count in_count, MPI_Datatype in_type, int root) {
  check_root(c, root);
  side whole, mine;
  if (acts_as_root(c, root)) {
    whole = all();
    forbid_alias(out, in, in_count > 0);
  }
  if (acts_as_other(c, root)) mine = side_of(in, in_count, in_type);
  return rooted(c, root, std::move(whole), std::move(mine), false);
}

shared_arguments both(communicator& c, side out, side in) {
  shared_arguments a = over(c);
  require(!out.in_place() || !c.between_groups(), MPI_ERR_BUFFER, "MPI_IN_PLACE means nothing between groups");
  require(!in.in_place(), MPI_ERR_BUFFER, "MPI_IN_PLACE means nothing here");
  forbid_alias(out.buffer, in.buffer, out.count > 0 && in.count > 0);
  a->out = std::move(out);
  a->in = std::move(in);
  return a;
}

shared_arguments reduce_arguments(communicator& c, const void* out, void* in, MPI_Count count, MPI_Datatype type, MPI_Op op, int root) {
  check_root(c, root);
  const bool is_root = acts_as_root(c, root);
  require(out != MPI_IN_PLACE || is_root, MPI_ERR_BUFFER, "only the root may name MPI_IN_PLACE");
  shared_arguments a = reduction(c, out, is_root ? in : nullptr, count, type, op);
  a->root = root;
  if (is_root) check_buffer(in, count, *a->in.type);
  if (acts_as_other(c, root) && out != MPI_IN_PLACE) check_buffer(out, count, *a->in.type);
  return a;
}

shared_arguments reduce_all_arguments(communicator& c, const void* out, void* in, MPI_Count count, MPI_Datatype type, MPI_Op op) {
  shared_arguments a = reduction(c, out, in, count, type, op);
  require(!a->out.in_place() || !c.between_groups(), MPI_ERR_BUFFER, "MPI_IN_PLACE means nothing between groups");
  check_buffer(in, count, *a->in.type);
  if (!a->out.in_place()) check_buffer(out, count, *a->in.type);
  require(!a->in.in_place(), MPI_ERR_BUFFER, "MPI_IN_PLACE means nothing here");
  return a;
}

shared_arguments scan_arguments(communicator& c, const void* out, void* in, MPI_Count count, MPI_Datatype type, MPI_Op op) {
  return reduce_all_arguments(within_one_group(c), out, in, count, type, op);
}

shared_arguments reduce_scatter_arguments(communicator& c, const void* out, void* in, numbers counts, MPI_Datatype type, MPI_Op op) {
  MPI_Count total = 0;
  for (int i = 0; i < c.size(); ++i) {
    require(counts[i] >= 0, MPI_ERR_COUNT, "a count is negative");
    total += counts[i];
  }
  shared_arguments a = reduction(c, out, in, total, type, op);
  a->in.counts = counts;
  return a;
}

int sources_of(communicator& c) { return static_cast<int>(neighbours_of(c).sources.size()); }
int destinations_of(communicator& c) { return static_cast<int>(neighbours_of(c).destinations.size()); }

shared_arguments with_neighbours(communicator& c, side out, side in) {
  (void)neighbours_of(c);
  return both(c, std::move(out), std::move(in));
}

}  // namespace

#define P2PDVM_COLLECTIVES(suffix, number, distance)                                                                                              \
  P2PDVM_FORMS(Bcast, Ibcast, suffix, (void* buffer, number count, MPI_Datatype type, int root), bcast_arguments(c, buffer, count, type, root),    \
               broadcast)                                                                                                                         \
  P2PDVM_FORMS(Gather, Igather, suffix,                                                                                                           \
               (const void* out, number out_count, MPI_Datatype out_type, void* in, number in_count, MPI_Datatype in_type, int root),             \
               gather_arguments(c, out, out_count, out_type, [&] { return side_of(in, in_count, in_type); }, in, root), gather)                   \
  P2PDVM_FORMS(Gatherv, Igatherv, suffix,                                                                                                         \
               (const void* out, number out_count, MPI_Datatype out_type, void* in, const number in_counts[], const distance displs[],            \
                MPI_Datatype in_type, int root),                                                                                                  \
               gather_arguments(c, out, out_count, out_type, [&] { return side_of(in, in_counts, displs, in_type, c.peers()); }, in, root),       \
               gather)                                                                                                                            \
  P2PDVM_FORMS(Scatter, Iscatter, suffix,                                                                                                         \
               (const void* out, number out_count, MPI_Datatype out_type, void* in, number in_count, MPI_Datatype in_type, int root),             \
               scatter_arguments(c, [&] { return side_of(out, out_count, out_type); }, out, in, in_count, in_type, root), scatter)                \
  P2PDVM_FORMS(Scatterv, Iscatterv, suffix,                                                                                                       \
               (const void* out, const number out_counts[], const distance displs[], MPI_Datatype out_type, void* in, number in_count,            \
                MPI_Datatype in_type, int root),                                                                                                  \
               scatter_arguments(c, [&] { return side_of(out, out_counts, displs, out_type, c.peers()); }, out, in, in_count, in_type, root),     \
               scatter)                                                                                                                           \
  P2PDVM_FORMS(Allgather, Iallgather, suffix,                                                                                                     \
               (const void* out, number out_count, MPI_Datatype out_type, void* in, number in_count, MPI_Datatype in_type),                       \
               both(c, side_of(out, out_count, out_type), side_of(in, in_count, in_type)), allgather)                                             \
  P2PDVM_FORMS(Allgatherv, Iallgatherv, suffix,                                                                                                   \
               (const void* out, number out_count, MPI_Datatype out_type, void* in, const number in_counts[], const distance displs[],            \
                MPI_Datatype in_type),                                                                                                            \
               both(c, side_of(out, out_count, out_type), side_of(in, in_counts, displs, in_type, c.peers())), allgather)                         \
  P2PDVM_FORMS(Alltoall, Ialltoall, suffix,                                                                                                       \
               (const void* out, number out_count, MPI_Datatype out_type, void* in, number in_count, MPI_Datatype in_type),                       \
               both(c, side_of(out, out_count, out_type), side_of(in, in_count, in_type)), alltoall)                                              \
  P2PDVM_FORMS(Alltoallv, Ialltoallv, suffix,                                                                                                     \
               (const void* out, const number out_counts[], const distance out_displs[], MPI_Datatype out_type, void* in,                         \
                const number in_counts[], const distance in_displs[], MPI_Datatype in_type),                                                      \
               both(c, side_of(out, out_counts, out_displs, out_type, c.peers()), side_of(in, in_counts, in_displs, in_type, c.peers())),         \
               alltoall)                                                                                                                          \
  P2PDVM_FORMS(Alltoallw, Ialltoallw, suffix,                                                                                                     \
               (const void* out, const number out_counts[], const distance out_displs[], const MPI_Datatype out_types[], void* in,                \
                const number in_counts[], const distance in_displs[], const MPI_Datatype in_types[]),                                             \
               both(c, side_of(out, out_counts, out_displs, out_types, c.peers()), side_of(in, in_counts, in_displs, in_types, c.peers())),       \
               alltoall)                                                                                                                          \
  P2PDVM_FORMS(Reduce, Ireduce, suffix, (const void* out, void* in, number count, MPI_Datatype type, MPI_Op op, int root),                        \
               reduce_arguments(c, out, in, count, type, op, root), reduce)                                                                       \
  P2PDVM_FORMS(Allreduce, Iallreduce, suffix, (const void* out, void* in, number count, MPI_Datatype type, MPI_Op op),                            \
               reduce_all_arguments(c, out, in, count, type, op), allreduce)                                                                      \
  P2PDVM_FORMS(Scan, Iscan, suffix, (const void* out, void* in, number count, MPI_Datatype type, MPI_Op op),                                      \
               scan_arguments(c, out, in, count, type, op), scan)                                                                                 \
  P2PDVM_FORMS(Exscan, Iexscan, suffix, (const void* out, void* in, number count, MPI_Datatype type, MPI_Op op),                                  \
               scan_arguments(c, out, in, count, type, op), exscan)                                                                               \
  P2PDVM_FORMS(Reduce_scatter, Ireduce_scatter, suffix, (const void* out, void* in, const number counts[], MPI_Datatype type, MPI_Op op),         \
               reduce_scatter_arguments(c, out, in, counts, type, op), reduce_scatter)                                                            \
  P2PDVM_FORMS(Reduce_scatter_block, Ireduce_scatter_block, suffix, (const void* out, void* in, number count, MPI_Datatype type, MPI_Op op),      \
               reduction(c, out, in, count, type, op), reduce_scatter)                                                                            \
  P2PDVM_FORMS(Neighbor_allgather, Ineighbor_allgather, suffix,                                                                                   \
               (const void* out, number out_count, MPI_Datatype out_type, void* in, number in_count, MPI_Datatype in_type),                       \
               with_neighbours(c, side_of(out, out_count, out_type), side_of(in, in_count, in_type)), neighbour_allgather)                        \
  P2PDVM_FORMS(Neighbor_allgatherv, Ineighbor_allgatherv, suffix,                                                                                 \
               (const void* out, number out_count, MPI_Datatype out_type, void* in, const number in_counts[], const distance displs[],            \
                MPI_Datatype in_type),                                                                                                            \
               with_neighbours(c, side_of(out, out_count, out_type), side_of(in, in_counts, displs, in_type, sources_of(c))),                     \
               neighbour_allgather)                                                                                                               \
  P2PDVM_FORMS(Neighbor_alltoall, Ineighbor_alltoall, suffix,                                                                                     \
               (const void* out, number out_count, MPI_Datatype out_type, void* in, number in_count, MPI_Datatype in_type),                       \
               with_neighbours(c, side_of(out, out_count, out_type), side_of(in, in_count, in_type)), neighbour_alltoall)                         \
  P2PDVM_FORMS(Neighbor_alltoallv, Ineighbor_alltoallv, suffix,                                                                                   \
               (const void* out, const number out_counts[], const distance out_displs[], MPI_Datatype out_type, void* in,                         \
                const number in_counts[], const distance in_displs[], MPI_Datatype in_type),                                                      \
               with_neighbours(c, side_of(out, out_counts, out_displs, out_type, destinations_of(c)),                                             \
                               side_of(in, in_counts, in_displs, in_type, sources_of(c))),                                                        \
               neighbour_alltoall)                                                                                                                \
  P2PDVM_FORMS(Neighbor_alltoallw, Ineighbor_alltoallw, suffix,                                                                                   \
               (const void* out, const number out_counts[], const MPI_Aint out_displs[], const MPI_Datatype out_types[], void* in,                \
                const number in_counts[], const MPI_Aint in_displs[], const MPI_Datatype in_types[]),                                             \
               with_neighbours(c, side_of(out, out_counts, out_displs, out_types, destinations_of(c)),                                            \
                               side_of(in, in_counts, in_displs, in_types, sources_of(c))),                                                       \
               neighbour_alltoall)
P2PDVM_COLLECTIVES(, int, int)
P2PDVM_COLLECTIVES(_c, MPI_Count, MPI_Aint)

}  // namespace p2pdvm::c_mpi
