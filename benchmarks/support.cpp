#include "benchmarks/support.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <stdexcept>

namespace stele {
namespace {

int digits(double figure) { return figure >= 1'000 ? 0 : figure >= 10 ? 1 : 2; }

// Anything else would run nothing and look like success.
bool is_part(const std::string& word, const std::string& parts) {
    return word.find('|') == std::string::npos && ("|" + parts + "|").find("|" + word + "|") != std::string::npos;
}

Options parse_options(const Benchmark& benchmark, int count, char** arguments) {
    Options options;
    options.rounds = benchmark.rounds;
    for (int i = 1; i < count; i += 2) {
        const std::string name = arguments[i];
        const std::string value = i + 1 < count ? arguments[i + 1] : std::string();
        if (name == "--json" && !value.empty()) {
            options.json = value;
        } else if (name == "--only" && is_part(value, benchmark.parts)) {
            options.only = value;
        } else if (name == "--rounds" && std::atoi(value.c_str()) > 0) {
            options.rounds = std::atoi(value.c_str());
        } else {
            give_up("usage: stele_bench_" + benchmark.name + " [--json FILE] [--only " + benchmark.parts +
                    "] [--rounds N]");
        }
    }
    return options;
}

}  // namespace

void give_up(const std::string& why) { throw std::runtime_error(why); }

void check(const Status& status) {
    if (!status.ok()) give_up(status.error().message);
}

double seconds_since(Steady::time_point start) { return std::chrono::duration<double>(Steady::now() - start).count(); }

double median(std::vector<double> samples) {
    std::sort(samples.begin(), samples.end());
    const std::size_t half = samples.size() / 2;
    return samples.size() % 2 == 1 ? samples[half] : (samples[half - 1] + samples[half]) / 2;
}

double resident_mb() {
    std::ifstream file("/proc/self/statm");
    double pages = 0;
    file >> pages >> pages;
    return pages * static_cast<double>(::sysconf(_SC_PAGESIZE)) / 1e6;
}

Report::Report() {
    std::printf("%-58s %10s %10s  %-9s %7s %13s %5s\n", "", "ours", "peer", "unit", "ratio", "spread", "goal");
    std::fflush(stdout);
}

void Report::heading(const std::string& text) { std::printf("\n%s\n", text.c_str()); }

void Report::note(const std::string& text) { std::printf("    %s\n", text.c_str()); }

void Report::add(const Row& row) {
    const double ours = median(row.rounds.ours);
    const double peer = median(row.rounds.peer);
    const auto better = [&](double a, double b) { return row.more_is_better ? a / b : b / a; };
    std::vector<double> ratios;
    for (std::size_t i = 0; i < row.rounds.ours.size(); ++i) {
        ratios.push_back(better(row.rounds.ours[i], row.rounds.peer[i]));
    }
    const auto [least, most] = std::minmax_element(ratios.begin(), ratios.end());
    char spread[32];
    std::snprintf(spread, sizeof spread, "%.2f-%.2f", *least, *most);
    char goal[16] = "-";
    if (row.goal > 0) std::snprintf(goal, sizeof goal, "%.2g", row.goal);
    if (row.most > 0) std::snprintf(goal, sizeof goal, "<%.3g", row.most);
    std::printf("%-58s %10.*f %10.*f  %-9s %7.2f %13s %5s\n", row.name.c_str(), digits(ours), ours, digits(peer), peer,
                row.unit.c_str(), better(ours, peer), spread, goal);
    std::printf("    peer: %s\n", row.peer_name.c_str());
    std::fflush(stdout);
    rows_.push_back(Value::object({{"name", row.name},
                                   {"ours", Value::number(ours)},
                                   {"peer", Value::number(peer)},
                                   {"peer_name", row.peer_name},
                                   {"ratio", Value::number(better(ours, peer))},
                                   {"unit", row.unit}}));
}

void Report::write_json(const std::string& path) const {
    std::ofstream file(path);
    file << to_pretty_json(Value(rows_)) << '\n';
    file.close();
    if (!file) give_up("cannot write " + path);
}

WorkingDirectory::WorkingDirectory(const std::string& benchmark)
    : path_(STELE_PROJECT_DIR "/build/bench/tmp/" + benchmark + "_" + std::to_string(::getpid())) {
    std::filesystem::create_directories(path_);
}

WorkingDirectory::~WorkingDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
    std::filesystem::remove(std::filesystem::path(path_).parent_path(), ignored);
}

int run_benchmark(const Benchmark& benchmark, int count, char** arguments,
                  const std::function<void(const Options&)>& run) {
    try {
        run(parse_options(benchmark, count, arguments));
    } catch (const std::exception& problem) {
        std::fprintf(stderr, "%s benchmark: %s\n", benchmark.name.c_str(), problem.what());
        return 1;
    }
    return 0;
}

}  // namespace stele
