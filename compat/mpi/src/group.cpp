#include "call.hpp"

#include <algorithm>
#include <vector>

namespace p2pdvm::c_mpi {

namespace {

group& empty_group() {
  static group* const one = new group({});
  return *one;
}

}  // namespace

int group::place_of(int job_rank) const {
  if (job_rank >= 0 && job_rank < size() && ranks_[static_cast<std::size_t>(job_rank)] == job_rank) return job_rank;
  const auto found = std::find(ranks_.begin(), ranks_.end(), job_rank);
  return found == ranks_.end() ? static_cast<int>(MPI_UNDEFINED) : static_cast<int>(found - ranks_.begin());
}

group& group_of(MPI_Group handle) {
  if (handle == MPI_GROUP_EMPTY) return empty_group();
  if (is_predefined(handle)) fail(MPI_ERR_GROUP, handle == MPI_GROUP_NULL ? "the group is MPI_GROUP_NULL" : "it is no group");
  return *reinterpret_cast<group*>(handle);
}

MPI_Group new_handle(ref<group> of) {
  if (of->size() == 0) return MPI_GROUP_EMPTY;
  return reinterpret_cast<MPI_Group>(of.detach());
}

namespace {

MPI_Group made_of(std::vector<int> ranks) { return new_handle(ref<group>::adopt(new group(std::move(ranks)))); }

/// The places that ranges name, in order; each once.
std::vector<int> places_of(const group& g, int n, int ranges[][3]) {
  require(n >= 0, MPI_ERR_ARG, "the number of ranges is negative");
  std::vector<int> places;
  for (int i = 0; i < n; ++i) {
    const int first = ranges[i][0], last = ranges[i][1], step = ranges[i][2];
    require(step != 0, MPI_ERR_ARG, "a range has stride 0");
    for (int place = first; step > 0 ? place <= last : place >= last; place += step) places.push_back(place);
    require((step > 0) == (first <= last) || first == last, MPI_ERR_ARG, "a range goes the other way than its stride");
  }
  for (const int place : places) require(place >= 0 && place < g.size(), MPI_ERR_RANK, "a rank is not in the group");
  return places;
}

void check_distinct(const group& g, const std::vector<int>& places) {
  std::vector<bool> seen(static_cast<std::size_t>(g.size()));
  for (const int place : places) {
    require(place >= 0 && place < g.size(), MPI_ERR_RANK, "a rank is not in the group");
    require(!seen[static_cast<std::size_t>(place)], MPI_ERR_RANK, "a rank is named twice");
    seen[static_cast<std::size_t>(place)] = true;
  }
}

MPI_Group with(const group& g, const std::vector<int>& places) {
  check_distinct(g, places);
  std::vector<int> ranks;
  for (const int place : places) ranks.push_back(g.ranks()[static_cast<std::size_t>(place)]);
  return made_of(std::move(ranks));
}

MPI_Group without(const group& g, const std::vector<int>& places) {
  check_distinct(g, places);
  std::vector<int> ranks;
  for (int i = 0; i < g.size(); ++i) {
    if (std::find(places.begin(), places.end(), i) == places.end()) ranks.push_back(g.ranks()[static_cast<std::size_t>(i)]);
  }
  return made_of(std::move(ranks));
}

std::vector<int> listed(int n, const int* ranks) {
  require(n >= 0, MPI_ERR_ARG, "the number of ranks is negative");
  return {ranks, ranks + n};
}

template <class Takes>
std::vector<int> of_first(const group& a, Takes takes) {
  std::vector<int> ranks;
  std::copy_if(a.ranks().begin(), a.ranks().end(), std::back_inserter(ranks), takes);
  return ranks;
}

}  // namespace

P2PDVM_FUNCTION(Group_size)(MPI_Group g, int* size) {
  return call("MPI_Group_size", [&] { *size = group_of(g).size(); });
}
P2PDVM_FUNCTION(Group_rank)(MPI_Group g, int* rank) {
  return call("MPI_Group_rank", [&] { *rank = group_of(g).place_of(here().world_rank()); });
}
P2PDVM_FUNCTION(Group_translate_ranks)(MPI_Group group1, int n, const int ranks1[], MPI_Group group2, int ranks2[]) {
  return call("MPI_Group_translate_ranks", [&] {
    const group& a = group_of(group1);
    const group& b = group_of(group2);
    require(n >= 0, MPI_ERR_ARG, "the number of ranks is negative");
    for (int i = 0; i < n; ++i) {
      if (ranks1[i] == MPI_PROC_NULL) {
        ranks2[i] = MPI_PROC_NULL;
        continue;
      }
      require(ranks1[i] >= 0 && ranks1[i] < a.size(), MPI_ERR_RANK, "a rank is not in the group");
      ranks2[i] = b.place_of(a.ranks()[static_cast<std::size_t>(ranks1[i])]);
    }
  });
}
P2PDVM_FUNCTION(Group_compare)(MPI_Group group1, MPI_Group group2, int* result) {
  return call("MPI_Group_compare", [&] {
    const std::vector<int>& a = group_of(group1).ranks();
    const std::vector<int>& b = group_of(group2).ranks();
    *result = a == b ? MPI_IDENT : a.size() == b.size() && std::is_permutation(a.begin(), a.end(), b.begin()) ? MPI_SIMILAR : MPI_UNEQUAL;
  });
}
P2PDVM_FUNCTION(Group_union)(MPI_Group group1, MPI_Group group2, MPI_Group* made) {
  return call("MPI_Group_union", [&] {
    const group& a = group_of(group1);
    std::vector<int> ranks = a.ranks();
    for (const int r : group_of(group2).ranks()) {
      if (a.place_of(r) == MPI_UNDEFINED) ranks.push_back(r);
    }
    *made = made_of(std::move(ranks));
  });
}
P2PDVM_FUNCTION(Group_intersection)(MPI_Group group1, MPI_Group group2, MPI_Group* made) {
  return call("MPI_Group_intersection", [&] {
    const group& b = group_of(group2);
    *made = made_of(of_first(group_of(group1), [&b](int r) { return b.place_of(r) != MPI_UNDEFINED; }));
  });
}
P2PDVM_FUNCTION(Group_difference)(MPI_Group group1, MPI_Group group2, MPI_Group* made) {
  return call("MPI_Group_difference", [&] {
    const group& b = group_of(group2);
    *made = made_of(of_first(group_of(group1), [&b](int r) { return b.place_of(r) == MPI_UNDEFINED; }));
  });
}
P2PDVM_FUNCTION(Group_incl)(MPI_Group g, int n, const int ranks[], MPI_Group* made) {
  return call("MPI_Group_incl", [&] { *made = with(group_of(g), listed(n, ranks)); });
}
P2PDVM_FUNCTION(Group_excl)(MPI_Group g, int n, const int ranks[], MPI_Group* made) {
  return call("MPI_Group_excl", [&] { *made = without(group_of(g), listed(n, ranks)); });
}
P2PDVM_FUNCTION(Group_range_incl)(MPI_Group g, int n, int ranges[][3], MPI_Group* made) {
  return call("MPI_Group_range_incl", [&] { *made = with(group_of(g), places_of(group_of(g), n, ranges)); });
}
P2PDVM_FUNCTION(Group_range_excl)(MPI_Group g, int n, int ranges[][3], MPI_Group* made) {
  return call("MPI_Group_range_excl", [&] { *made = without(group_of(g), places_of(group_of(g), n, ranges)); });
}
P2PDVM_FUNCTION(Group_free)(MPI_Group* g) {
  return call("MPI_Group_free", [&] {
    require(g != nullptr, MPI_ERR_ARG, "an address is null");
    group& of = group_of(*g);
    if (*g != MPI_GROUP_EMPTY) of.release();
    *g = MPI_GROUP_NULL;
  });
}

}  // namespace p2pdvm::c_mpi
