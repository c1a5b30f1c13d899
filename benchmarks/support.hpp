// What the benchmarks share: figures of rounds against a peer, the table and the JSON made of them, a
// folder to work in, and the command line. One thread.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "board/result.hpp"
#include "board/value.hpp"

namespace stele {

using Steady = std::chrono::steady_clock;

/// Throws, so that the data is removed on the way out.
[[noreturn]] void give_up(const std::string& why);

void check(const Status& status);

template <class T>
T take(Result<T> result) {
    if (!result.ok()) give_up(result.error().message);
    return std::move(*result);
}

double seconds_since(Steady::time_point start);
double median(std::vector<double> samples);
/// Of this process, in millions of bytes.
double resident_mb();

/// One figure per round, of ours and of the peer beside it.
struct Rounds {
    std::vector<double> ours;
    std::vector<double> peer;
};

struct Row {
    std::string name;
    std::string unit;
    std::string peer_name;
    bool more_is_better = true;
    double goal = 0;  // of the ratio, at least; 0: none is set
    double most = 0;  // of our figure, at most; 0: none is set
    Rounds rounds;
};

/// Prints a line for each row as it comes: medians, and how many times better than the peer we are.
class Report {
public:
    Report();
    void heading(const std::string& text);
    void note(const std::string& text);
    void add(const Row& row);
    void write_json(const std::string& path) const;

private:
    Value::Array rows_;
};

/// On the disk that the project is on; /tmp may be memory.
class WorkingDirectory {
public:
    explicit WorkingDirectory(const std::string& benchmark);
    WorkingDirectory(const WorkingDirectory&) = delete;
    WorkingDirectory& operator=(const WorkingDirectory&) = delete;
    ~WorkingDirectory();

    /// A folder that lasts as long as one part of the run.
    template <class Part>
    void with_folder(const std::string& name, const Part& part) const {
        const std::string folder = path_ + "/" + name;
        std::filesystem::create_directories(folder);
        part(folder);
        std::filesystem::remove_all(folder);
    }

private:
    std::string path_;
};

struct Options {
    std::string json;
    std::string only;
    int rounds = 0;
};

struct Benchmark {
    std::string name;
    std::string parts;  // what --only may be, with bars between
    int rounds;         // unless told
};

/// Reads `[--json FILE] [--only PART] [--rounds N]` and runs. Returns the exit code.
int run_benchmark(const Benchmark& benchmark, int count, char** arguments,
                  const std::function<void(const Options&)>& run);

}  // namespace stele
