#include "support/test.hpp"

#include <p2pdvm/runtime/reporter.hpp>

#include <nlohmann/json.hpp>

#include <limits>
#include <set>
#include <string>

namespace p2pdvm::test {
namespace {

using runtime::event;
using runtime::event_kind;

nlohmann::json parsed(const event& e, int peer = 0) {
  const std::string line = runtime::to_json(e, peer);
  INFO(line);
  CHECK(line.find('\n') == std::string::npos);
  CHECK(line.find('\r') == std::string::npos);
  return nlohmann::json::parse(line);
}

event of(event_kind kind) {
  event e;
  e.kind = kind;
  return e;
}

TEST_CASE("every kind of event has a name of its own") {
  std::set<std::string> names;
  for (std::size_t i = 0; i < runtime::event_kinds; ++i) {
    const auto kind = static_cast<event_kind>(i);
    const std::string name = parsed(of(kind)).at("event").get<std::string>();
    CHECK(name == runtime::name_of(kind));
    CHECK_FALSE(name.empty());
    CHECK(name.find_first_not_of("abcdefghijklmnopqrstuvwxyz_") == std::string::npos);
    names.insert(name);
  }
  CHECK(names.size() == runtime::event_kinds);
  CHECK(runtime::name_of(event_kind::warning) == "warning");
  CHECK(runtime::name_of(event_kind::healed) == "healed");
  CHECK(runtime::name_of(event_kind::majority_again) == "majority_again");
}

TEST_CASE("an event's JSON has what is set, and nothing else") {
  event e = of(event_kind::cut);
  e.at = time_point(std::chrono::milliseconds(1500));
  CHECK(parsed(e, 3) == nlohmann::json({{"event", "cut"}, {"time", 1.5}, {"peer", 3}}));
  e.incarnation = incarnation_number(2);
  e.epoch = epoch_number(7);
  e.rank = rank_number(0);
  e.node = node_id();
  e.count = 11;
  e.seconds = 0.25;
  e.text = "why";
  CHECK(parsed(e, -1) == nlohmann::json({{"event", "cut"},
                                         {"time", 1.5},
                                         {"peer", -1},
                                         {"incarnation", 2},
                                         {"epoch", 7},
                                         {"rank", 0},
                                         {"node", std::string(64, '0')},
                                         {"count", 11},
                                         {"seconds", 0.25},
                                         {"text", "why"}}));
}

TEST_CASE("the first field of an event's line is its kind, for whoever greps") {
  CHECK(runtime::to_json(of(event_kind::committed), 0).starts_with(R"({"event":"committed")"));
}

TEST_CASE("the end's text is a digest, that of others is not") {
  event e = of(event_kind::done);
  e.text = "abc";
  CHECK(parsed(e).at("digest") == "abc");
  CHECK_FALSE(parsed(e).contains("text"));
  e.kind = event_kind::failed;
  CHECK(parsed(e).at("text") == "abc");
  CHECK_FALSE(parsed(e).contains("digest"));
}

TEST_CASE("text that no JSON may hold still makes one line of JSON") {
  event e = of(event_kind::warning);
  e.text = "a \"quoted\"\nline\r\\ \t";
  CHECK(parsed(e).at("text") == e.text);
  e.text = std::string("null \0 inside", 13);
  CHECK(parsed(e).at("text") == e.text);
  for (const char* broken : {"\xff\xfe", "cut short: \xe2\x82", "\xc0\xaf", "\xed\xa0\x80"}) {
    e.text = broken;  // a rank may throw any bytes
    CHECK(parsed(e).at("text").get<std::string>().find("\xef\xbf\xbd") != std::string::npos);
  }
  e.text = std::string(100000, 'x');
  CHECK(parsed(e).at("text").get<std::string>().size() == 100000);
}

TEST_CASE("the largest numbers survive, and what is no number is null") {
  event e = of(event_kind::drained);
  e.count = std::numeric_limits<std::uint64_t>::max();
  e.epoch = epoch_number(e.count);
  e.incarnation = incarnation_number(e.count);
  e.rank = rank_number(std::numeric_limits<std::uint32_t>::max());
  const auto j = parsed(e);
  CHECK(j.at("count").get<std::uint64_t>() == e.count);
  CHECK(j.at("epoch").get<std::uint64_t>() == e.count);
  CHECK(j.at("incarnation").get<std::uint64_t>() == e.count);
  CHECK(j.at("rank").get<std::uint32_t>() == e.rank->value());
  e.seconds = std::numeric_limits<double>::quiet_NaN();
  CHECK(parsed(e).at("seconds").is_null());
  e.at = time_point(duration(-5));
  CHECK(parsed(e).at("time").get<double>() < 0);
}

}  // namespace
}  // namespace p2pdvm::test
