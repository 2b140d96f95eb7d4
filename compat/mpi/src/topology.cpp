/// Cartesian grids and graphs of ranks.
#include "call.hpp"
#include "collective.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace p2pdvm::c_mpi {

namespace {

int rank_at(const topology& t, const std::vector<int>& at) {
  int rank = 0;
  for (std::size_t i = 0; i < at.size(); ++i) rank = rank * t.dimensions[i] + at[i];
  return rank;
}

std::vector<int> coordinates_of(const topology& t, int rank) {
  std::vector<int> at(t.dimensions.size());
  for (std::size_t i = at.size(); i-- > 0; rank /= t.dimensions[i]) at[i] = rank % t.dimensions[i];
  return at;
}

int wrapped(int value, int size) { return ((value % size) + size) % size; }

const topology& shape_of(communicator& c, int kind) {
  require(c.shape.kind == kind, MPI_ERR_TOPOLOGY, kind == MPI_CART ? "the communicator is no grid" : "the communicator is no such graph");
  return c.shape;
}

int product(const std::vector<int>& all) {
  return std::accumulate(all.begin(), all.end(), 1, std::multiplies<int>());
}

/// The first `ranks` of them keep their order; the others are left out.
ref<communicator> first_ranks(communicator& c, int ranks) {
  return split(c, c.rank() < ranks ? 0 : static_cast<int>(MPI_UNDEFINED), c.rank());
}

void check_dimensions(communicator& c, int count, const int* dims) {
  require(count >= 0, MPI_ERR_DIMS, "the number of dimensions is negative");
  require(count == 0 || dims != nullptr, MPI_ERR_ARG, "an address is null");
  long long size = 1;
  for (int i = 0; i < count; ++i) {
    require(dims[i] > 0, MPI_ERR_DIMS, "a dimension is not positive");
    size *= dims[i];
    require(size <= c.size(), MPI_ERR_DIMS, "the grid has more places than the communicator has ranks");
  }
}

/// Numbers whose product is given, as near to each other as can be, the largest first.
class balanced {
 public:
  balanced(int product, int parts) {
    for (int d = 1; d <= product / d; ++d) {
      if (product % d != 0) continue;
      divisors_.push_back(d);
      if (d != product / d) divisors_.push_back(product / d);
    }
    std::sort(divisors_.begin(), divisors_.end());
    divide(product, parts, product);
  }
  [[nodiscard]] const std::vector<int>& best() const noexcept { return best_; }

 private:
  /// The largest last factor that `parts` factors of `n` can have.
  static int root(int n, int parts) {
    auto r = static_cast<int>(std::pow(n, 1.0 / parts) + 1e-9);
    return std::max(r, 1);
  }
  /// Less between the first and the last; where that is the same, larger ones at the end.
  [[nodiscard]] bool better_than_best() const {
    const int spread = chosen_.front() - chosen_.back();
    if (spread != spread_of_best()) return spread < spread_of_best();
    return std::lexicographical_compare(best_.rbegin(), best_.rend(), chosen_.rbegin(), chosen_.rend());
  }
  [[nodiscard]] int spread_of_best() const { return best_.front() - best_.back(); }
  void divide(int n, int parts, int most) {
    if (parts == 1) {
      if (n > most) return;
      chosen_.push_back(n);
      if (best_.empty() || better_than_best()) best_ = chosen_;
      chosen_.pop_back();
      return;
    }
    const int least = root(n, parts);
    for (auto d = std::lower_bound(divisors_.begin(), divisors_.end(), least); d != divisors_.end() && *d <= most; ++d) {
      if (n % *d != 0) continue;
      const int first = chosen_.empty() ? *d : chosen_.front();
      if (!best_.empty() && first - root(n / *d, parts - 1) > spread_of_best()) {
        if (chosen_.empty()) return;  // a larger first one is still farther from the last
        continue;
      }
      chosen_.push_back(*d);
      divide(n / *d, parts - 1, *d);
      chosen_.pop_back();
    }
  }

  std::vector<int> divisors_, best_, chosen_;
};

}  // namespace

int shifted(const communicator& c, int dimension, int steps) {
  const topology& t = c.shape;
  std::vector<int> at = t.coordinates;
  const auto d = static_cast<std::size_t>(dimension);
  at[d] += steps;
  if (at[d] < 0 || at[d] >= t.dimensions[d]) {
    if (t.periods[d] == 0) return MPI_PROC_NULL;
    at[d] = wrapped(at[d], t.dimensions[d]);
  }
  return rank_at(t, at);
}

P2PDVM_FUNCTION(Topo_test)(MPI_Comm comm, int* status) {
  return call_on(comm, "MPI_Topo_test", [&](communicator& c) { *status = c.shape.kind; });
}

P2PDVM_FUNCTION(Dims_create)(int nnodes, int ndims, int dims[]) {
  return call_any_time("MPI_Dims_create", [&] {
    require(nnodes > 0 && ndims >= 0, MPI_ERR_DIMS, "a number is not positive");
    int left = nnodes, open = 0;
    for (int i = 0; i < ndims; ++i) {
      require(dims[i] >= 0, MPI_ERR_DIMS, "a dimension is negative");
      if (dims[i] == 0) {
        ++open;
        continue;
      }
      require(left % dims[i] == 0, MPI_ERR_DIMS, "the given dimensions do not divide the number of ranks");
      left /= dims[i];
    }
    require(open > 0 || left == 1, MPI_ERR_DIMS, "the given dimensions do not make the number of ranks");
    if (open == 0) return;
    const balanced numbers(left, open);
    const std::vector<int>& best = numbers.best();
    std::size_t next = 0;
    for (int i = 0; i < ndims; ++i) {
      if (dims[i] == 0) dims[i] = best[next++];
    }
  });
}

// --- grids ---

P2PDVM_FUNCTION(Cart_create)(MPI_Comm comm_old, int ndims, const int dims[], const int periods[], int, MPI_Comm* comm_cart) {
  return call_on(comm_old, "MPI_Cart_create", [&](communicator& c) {
    (void)within_one_group(c);
    check_dimensions(c, ndims, dims);
    require(comm_cart != nullptr, MPI_ERR_ARG, "an address is null");
    topology t;
    t.kind = MPI_CART;
    t.dimensions.assign(dims, dims + ndims);
    t.periods.assign(periods, periods + ndims);
    ref<communicator> made = first_ranks(c, product(t.dimensions));
    if (made) {
      t.coordinates = coordinates_of(t, made->rank());
      made->shape = std::move(t);
    }
    *comm_cart = new_handle(std::move(made));
  });
}

P2PDVM_FUNCTION(Cartdim_get)(MPI_Comm comm, int* ndims) {
  return call_on(comm, "MPI_Cartdim_get", [&](communicator& c) { *ndims = static_cast<int>(shape_of(c, MPI_CART).dimensions.size()); });
}

P2PDVM_FUNCTION(Cart_get)(MPI_Comm comm, int maxdims, int dims[], int periods[], int coords[]) {
  return call_on(comm, "MPI_Cart_get", [&](communicator& c) {
    const topology& t = shape_of(c, MPI_CART);
    require(std::cmp_less_equal(t.dimensions.size(), maxdims), MPI_ERR_ARG, "there is not enough room");
    std::copy(t.dimensions.begin(), t.dimensions.end(), dims);
    std::copy(t.periods.begin(), t.periods.end(), periods);
    std::copy(t.coordinates.begin(), t.coordinates.end(), coords);
  });
}

P2PDVM_FUNCTION(Cart_rank)(MPI_Comm comm, const int coords[], int* rank) {
  return call_on(comm, "MPI_Cart_rank", [&](communicator& c) {
    const topology& t = shape_of(c, MPI_CART);
    std::vector<int> at(coords, coords + t.dimensions.size());
    for (std::size_t i = 0; i < at.size(); ++i) {
      if (t.periods[i] != 0) at[i] = wrapped(at[i], t.dimensions[i]);
      require(at[i] >= 0 && at[i] < t.dimensions[i], MPI_ERR_ARG, "the coordinates are outside of the grid");
    }
    *rank = rank_at(t, at);
  });
}

P2PDVM_FUNCTION(Cart_coords)(MPI_Comm comm, int rank, int maxdims, int coords[]) {
  return call_on(comm, "MPI_Cart_coords", [&](communicator& c) {
    const topology& t = shape_of(c, MPI_CART);
    c.check_peer(rank, "place");
    require(std::cmp_less_equal(t.dimensions.size(), maxdims), MPI_ERR_ARG, "there is not enough room");
    const std::vector<int> at = coordinates_of(t, rank);
    std::copy(at.begin(), at.end(), coords);
  });
}

P2PDVM_FUNCTION(Cart_shift)(MPI_Comm comm, int direction, int disp, int* rank_source, int* rank_dest) {
  return call_on(comm, "MPI_Cart_shift", [&](communicator& c) {
    const topology& t = shape_of(c, MPI_CART);
    require(direction >= 0 && std::cmp_less(direction, t.dimensions.size()), MPI_ERR_ARG, "there is no such dimension");
    *rank_source = shifted(c, direction, -disp);
    *rank_dest = shifted(c, direction, disp);
  });
}

P2PDVM_FUNCTION(Cart_sub)(MPI_Comm comm, const int remain_dims[], MPI_Comm* newcomm) {
  return call_on(comm, "MPI_Cart_sub", [&](communicator& c) {
    const topology whole = shape_of(c, MPI_CART);
    topology t;
    t.kind = MPI_CART;
    int colour = 0;
    for (std::size_t i = 0; i < whole.dimensions.size(); ++i) {
      if (remain_dims[i] != 0) {
        t.dimensions.push_back(whole.dimensions[i]);
        t.periods.push_back(whole.periods[i]);
        t.coordinates.push_back(whole.coordinates[i]);
      } else {
        colour = colour * whole.dimensions[i] + whole.coordinates[i];
      }
    }
    ref<communicator> made = split(c, colour, c.rank());
    made->shape = std::move(t);
    *newcomm = new_handle(std::move(made));
  });
}

P2PDVM_FUNCTION(Cart_map)(MPI_Comm comm, int ndims, const int dims[], const int[], int* newrank) {
  return call_on(comm, "MPI_Cart_map", [&](communicator& c) {
    check_dimensions(c, ndims, dims);
    const int size = product(std::vector<int>(dims, dims + ndims));
    *newrank = c.rank() < size ? c.rank() : static_cast<int>(MPI_UNDEFINED);
  });
}

// --- graphs ---

P2PDVM_FUNCTION(Graph_create)(MPI_Comm comm_old, int nnodes, const int index[], const int edges[], int, MPI_Comm* comm_graph) {
  return call_on(comm_old, "MPI_Graph_create", [&](communicator& c) {
    (void)within_one_group(c);
    require(nnodes >= 0 && nnodes <= c.size(), MPI_ERR_ARG, "the graph has more nodes than the communicator has ranks");
    topology t;
    t.kind = MPI_GRAPH;
    t.index.assign(index, index + nnodes);
    int before = 0;
    for (const int i : t.index) {
      require(i >= before, MPI_ERR_ARG, "the index does not rise");
      before = i;
    }
    t.edges.assign(edges, edges + before);
    for (const int e : t.edges) require(e >= 0 && e < nnodes, MPI_ERR_ARG, "an edge leads to no node");
    ref<communicator> made = first_ranks(c, nnodes);
    if (made) made->shape = std::move(t);
    *comm_graph = new_handle(std::move(made));
  });
}

P2PDVM_FUNCTION(Graphdims_get)(MPI_Comm comm, int* nnodes, int* nedges) {
  return call_on(comm, "MPI_Graphdims_get", [&](communicator& c) {
    const topology& t = shape_of(c, MPI_GRAPH);
    *nnodes = static_cast<int>(t.index.size());
    *nedges = static_cast<int>(t.edges.size());
  });
}

P2PDVM_FUNCTION(Graph_get)(MPI_Comm comm, int maxindex, int maxedges, int index[], int edges[]) {
  return call_on(comm, "MPI_Graph_get", [&](communicator& c) {
    const topology& t = shape_of(c, MPI_GRAPH);
    require(std::cmp_less_equal(t.index.size(), maxindex) && std::cmp_less_equal(t.edges.size(), maxedges), MPI_ERR_ARG, "there is not enough room");
    std::copy(t.index.begin(), t.index.end(), index);
    std::copy(t.edges.begin(), t.edges.end(), edges);
  });
}

namespace {

std::pair<int, int> edges_of(const topology& t, int rank) {
  const auto r = static_cast<std::size_t>(rank);
  return {r == 0 ? 0 : t.index[r - 1], t.index[r]};
}

}  // namespace

P2PDVM_FUNCTION(Graph_neighbors_count)(MPI_Comm comm, int rank, int* nneighbors) {
  return call_on(comm, "MPI_Graph_neighbors_count", [&](communicator& c) {
    const topology& t = shape_of(c, MPI_GRAPH);
    c.check_peer(rank, "node");
    const auto [first, last] = edges_of(t, rank);
    *nneighbors = last - first;
  });
}

P2PDVM_FUNCTION(Graph_neighbors)(MPI_Comm comm, int rank, int maxneighbors, int neighbors[]) {
  return call_on(comm, "MPI_Graph_neighbors", [&](communicator& c) {
    const topology& t = shape_of(c, MPI_GRAPH);
    c.check_peer(rank, "node");
    const auto [first, last] = edges_of(t, rank);
    require(last - first <= maxneighbors, MPI_ERR_ARG, "there is not enough room");
    std::copy(t.edges.begin() + first, t.edges.begin() + last, neighbors);
  });
}

P2PDVM_FUNCTION(Graph_map)(MPI_Comm comm, int nnodes, const int[], const int[], int* newrank) {
  return call_on(comm, "MPI_Graph_map", [&](communicator& c) {
    require(nnodes > 0 && nnodes <= c.size(), MPI_ERR_ARG, "the graph has more nodes than the communicator has ranks");
    *newrank = c.rank() < nnodes ? c.rank() : static_cast<int>(MPI_UNDEFINED);
  });
}

// --- graphs of which each rank knows its part ---

namespace {

bool weighs(const int* weights) { return weights != MPI_UNWEIGHTED; }

std::vector<int> weights_of(const int* weights, int count) {
  if (!weighs(weights) || weights == MPI_WEIGHTS_EMPTY || weights == nullptr) return std::vector<int>(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) require(weights[i] >= 0, MPI_ERR_ARG, "a weight is negative");
  return {weights, weights + count};
}

ref<communicator> with_shape(communicator& c, topology t, MPI_Info given) {
  ref<communicator> made = split(c, 0, c.rank());
  made->shape = std::move(t);
  if (const info* const hints = info_or_none(given)) made->hints = ref<info>::adopt(new info(hints->pairs()));
  return made;
}

struct edge {
  std::int32_t from, to, weight;
};

/// Everybody says which edges it knows; each keeps those that begin or end at it.
task<> collect_edges(ref<communicator> c, std::shared_ptr<std::vector<edge>> known, std::shared_ptr<topology> t) {
  payload mine = payload::copy_of(std::as_bytes(std::span(*known)));
  const mpi::detail::call what = mpi::detail::call(mpi::detail::operation::allgather, std::source_location());
  const std::vector<payload> all = co_await c->core().allgather(what, std::move(mine));
  for (const payload& some : all) {
    std::vector<edge> edges(some.size() / sizeof(edge));
    if (!edges.empty()) std::memcpy(edges.data(), some.data(), some.size());
    for (const edge& e : edges) {
      if (e.to == c->rank()) t->sources.push_back(e.from), t->source_weights.push_back(e.weight);
      if (e.from == c->rank()) t->destinations.push_back(e.to), t->destination_weights.push_back(e.weight);
    }
  }
}

}  // namespace

P2PDVM_FUNCTION(Dist_graph_create_adjacent)(MPI_Comm comm_old, int indegree, const int sources[], const int sourceweights[], int outdegree,
                                            const int destinations[], const int destweights[], MPI_Info given, int, MPI_Comm* made) {
  return call_on(comm_old, "MPI_Dist_graph_create_adjacent", [&](communicator& c) {
    (void)within_one_group(c);
    require(indegree >= 0 && outdegree >= 0, MPI_ERR_ARG, "a degree is negative");
    topology t;
    t.kind = MPI_DIST_GRAPH;
    t.weighted = weighs(sourceweights);
    t.sources.assign(sources, sources + indegree);
    t.destinations.assign(destinations, destinations + outdegree);
    for (const std::vector<int>* ends : {&t.sources, &t.destinations}) {
      for (const int r : *ends) c.check_peer(r, "neighbour");
    }
    t.source_weights = weights_of(sourceweights, indegree);
    t.destination_weights = weights_of(destweights, outdegree);
    *made = new_handle(with_shape(c, std::move(t), given));
  });
}

P2PDVM_FUNCTION(Dist_graph_create)(MPI_Comm comm_old, int n, const int sources[], const int degrees[], const int destinations[],
                                   const int weights[], MPI_Info given, int, MPI_Comm* made) {
  return call_on(comm_old, "MPI_Dist_graph_create", [&](communicator& c) {
    (void)within_one_group(c);
    require(n >= 0, MPI_ERR_ARG, "the number of sources is negative");
    const auto known = std::make_shared<std::vector<edge>>();
    int next = 0;
    for (int i = 0; i < n; ++i) {
      c.check_peer(sources[i], "source");
      require(degrees[i] >= 0, MPI_ERR_ARG, "a degree is negative");
      for (int k = 0; k < degrees[i]; ++k, ++next) {
        c.check_peer(destinations[next], "destination");
        const bool some = weighs(weights) && weights != MPI_WEIGHTS_EMPTY;
        require(!some || weights[next] >= 0, MPI_ERR_ARG, "a weight is negative");
        known->push_back({sources[i], destinations[next], some ? weights[next] : 0});
      }
    }
    const auto t = std::make_shared<topology>();
    t->kind = MPI_DIST_GRAPH;
    t->weighted = weighs(weights);
    run(c, collect_edges(ref<communicator>(c), known, t));
    *made = new_handle(with_shape(c, *t, given));
  });
}

P2PDVM_FUNCTION(Dist_graph_neighbors_count)(MPI_Comm comm, int* indegree, int* outdegree, int* weighted) {
  return call_on(comm, "MPI_Dist_graph_neighbors_count", [&](communicator& c) {
    const topology& t = shape_of(c, MPI_DIST_GRAPH);
    *indegree = static_cast<int>(t.sources.size());
    *outdegree = static_cast<int>(t.destinations.size());
    *weighted = t.weighted ? 1 : 0;
  });
}

P2PDVM_FUNCTION(Dist_graph_neighbors)(MPI_Comm comm, int maxindegree, int sources[], int sourceweights[], int maxoutdegree, int destinations[],
                                      int destweights[]) {
  return call_on(comm, "MPI_Dist_graph_neighbors", [&](communicator& c) {
    const topology& t = shape_of(c, MPI_DIST_GRAPH);
    const auto copy = [&t](const std::vector<int>& ends, const std::vector<int>& weights, int most, int* to, int* to_weights) {
      const auto n = std::min(static_cast<std::ptrdiff_t>(most), std::ssize(ends));
      std::copy_n(ends.begin(), n, to);
      if (t.weighted && weighs(to_weights) && to_weights != MPI_WEIGHTS_EMPTY && to_weights != nullptr) std::copy_n(weights.begin(), n, to_weights);
    };
    copy(t.sources, t.source_weights, maxindegree, sources, sourceweights);
    copy(t.destinations, t.destination_weights, maxoutdegree, destinations, destweights);
  });
}

}  // namespace p2pdvm::c_mpi
