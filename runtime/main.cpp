// The command line: which words there are, and what each is for.
#include <CLI/CLI.hpp>
#include <csignal>
#include <iostream>

#include "runtime/commands.hpp"

namespace {

using namespace stele;

void add_common(CLI::App& command, CommonOptions& options, bool with_board) {
    command.add_option("--data", options.data, "data directory")->envname("STELE_DATA")->capture_default_str();
    if (with_board) command.add_option("--board", options.board, "board to use; without it the newest one");
    command.add_flag("--json", options.json, "print JSON lines (docs/output.md)");
    command.add_flag("!--no-pager", options.pager, "show long output as it comes, not in a pager");
    command
        .add_option_function<std::string>(
            "--color",
            [&options](const std::string& text) {
                const std::optional<ColorChoice> choice = color_choice_from(text);
                if (!choice) throw CLI::ValidationError("--color", "takes auto, always or never, not \"" + text + "\"");
                options.color = *choice;
            },
            "auto, always or never")
        ->default_str("auto");
}

void add_example(CLI::App& command, const std::string& example) { command.footer("Example:\n  " + example); }

void add_tree(CLI::App& command, TreeOptions& options) {
    command.add_option("entry", options.entry, "REGION/NUMBER")->required();
    command.add_option("--depth", options.depth, "how far to follow it; 0: to the end")->capture_default_str();
    command.add_option("--graph", options.graph, "draw it: dot, mermaid or svg");
    add_common(command, options.common, true);
}

struct ControlCommand {
    CommonOptions common;
    std::string word;
    std::string source;
    std::string region;
    double weight = 0;
};

// What a person may say to a run: each is one write into the region `control`.
void add_control(CLI::App& app, ControlCommand& given, ExitCode& code) {
    CLI::App* command = app.add_subcommand("control", "change how a board's agenda is ranked, and who may run");
    command->require_subcommand(1);
    add_example(*command,
                "stele control strategy depth\n  stele control pause writer\n"
                "  stele control focus pricing --region prices --weight 10");
    const auto verb = [&](const char* name, const char* help, const char* what) {
        CLI::App* made = command->add_subcommand(name, help);
        made->add_option(what, given.word)->required();
        add_common(*made, given.common, true);
        return made;
    };
    verb("strategy", "rank the agenda by another strategy from now on", "strategy")->callback([&] {
        code = command_control(given.common, "strategy", Value(given.word));
    });
    verb("pause", "start nothing of this source", "source")->callback([&] {
        code = command_control(given.common, "pause/" + given.word, Value(true));
    });
    verb("resume", "let a paused source go on", "source")->callback([&] {
        code = command_control(given.common, "pause/" + given.word, Value(false));
    });
    CLI::App* focus = verb("focus", "add a weight to the rating of some matches; 0 takes it back", "name");
    focus->add_option("--weight", given.weight, "added to the rating of each match it applies to")->required();
    focus->add_option("--source", given.source, "only matches of this source");
    focus->add_option("--region", given.region, "only matches that have bound an entry of this region");
    focus->callback([&] {
        Value value = Value::object({{"weight", Value::number(given.weight)}});
        if (!given.source.empty()) value.set("source", Value(given.source));
        if (!given.region.empty()) value.set("region", Value(given.region));
        code = command_control(given.common, "focus/" + given.word, value);
    });
}

int run(int argc, char** argv) {
    CLI::App app{
        "Stele: a blackboard for crews of agents. Declare regions, sources and preconditions in one YAML\n"
        "file; every write is in one log that can be replayed and questioned."};
    app.require_subcommand(1);
    app.set_version_flag("--version", std::string("stele ") + STELE_VERSION);
    app.footer(
        "Start with:\n  stele run configs/repo_review.yaml --input repo=.\n"
        "Exit codes: docs/cli.md. `stele COMMAND --help` shows each command with an example.");
    app.get_formatter()->column_width(34);

    ExitCode code = ExitCode::done;

    RunOptions run_options;
    CLI::App* run_command = app.add_subcommand("run", "run a crew on a new board");
    run_command->add_option("crew", run_options.crew_file, "crew file")->required();
    run_command->add_option("--input", run_options.inputs, "NAME=VALUE for an input of the crew; repeatable");
    run_command->add_flag("--continue", run_options.go_on, "run on a board that exists already");
    run_command->add_flag("--quiet", run_options.quiet, "print only the last lines");
    add_common(*run_command, run_options.common, true);
    add_example(*run_command, "stele run configs/repo_review.yaml --input repo=/path/to/repository");
    bool dry = false;
    run_command->add_flag("--dry", dry, "print the prompts that the first activations would send; sends nothing");
    run_command->callback([&] {
        if (dry) {
            code = command_dry_run({run_options.common, run_options.crew_file, run_options.inputs});
            return;
        }
        run_options.verb = RunRequest::Verb::run;
        code = command_run(run_options);
    });

    RunOptions resume_options;
    CLI::App* resume_command = app.add_subcommand("resume", "go on with a run that stopped or whose process died");
    resume_command->add_option("--crew", resume_options.crew_file, "go on with this crew instead of the logged one");
    resume_command->add_option("--input", resume_options.inputs, "NAME=VALUE, with --crew");
    resume_command->add_flag("--quiet", resume_options.quiet, "print only the last lines");
    add_common(*resume_command, resume_options.common, true);
    add_example(*resume_command, "stele resume --board repo_review");
    resume_command->callback([&] {
        resume_options.verb = RunRequest::Verb::resume;
        code = command_run(resume_options);
    });

    RunOptions retry_options;
    CLI::App* retry_command = app.add_subcommand("retry", "try dead activations again, and go on with the run");
    retry_command->add_option("--activation", retry_options.activation, "only this one; without it all of them")
        ->check(CLI::NonNegativeNumber);
    retry_command->add_flag("--quiet", retry_options.quiet, "print only the last lines");
    add_common(*retry_command, retry_options.common, true);
    add_example(*retry_command, "stele retry --board repo_review");
    retry_command->callback([&] {
        retry_options.verb = RunRequest::Verb::retry;
        code = command_run(retry_options);
    });

    CheckOptions check_options;
    CLI::App* check_command =
        app.add_subcommand("check", "check a crew file and print what it promises; starts nothing");
    check_command->add_option("crew", check_options.crew_file, "crew file")->required();
    check_command->add_option("--input", check_options.inputs, "NAME=VALUE for an input of the crew; repeatable");
    add_common(*check_command, check_options.common, false);
    add_example(*check_command, "stele check configs/repo_review.yaml");
    check_command->callback([&] { code = command_check(check_options); });

    CheckOptions doctor_options;
    CLI::App* doctor_command =
        app.add_subcommand("doctor", "ask the models, MCP servers and services of a crew whether they are there");
    doctor_command->add_option("crew", doctor_options.crew_file, "crew file")->required();
    doctor_command->add_option("--input", doctor_options.inputs, "NAME=VALUE for an input of the crew; repeatable");
    add_common(*doctor_command, doctor_options.common, false);
    add_example(*doctor_command, "stele doctor configs/research_brief.yaml");
    doctor_command->callback([&] { code = command_doctor(doctor_options); });

    LogOptions log_options;
    CLI::App* log_command = app.add_subcommand("log", "print the records of a board's log");
    log_command->add_flag("--long", log_options.long_form, "with contents and refusals in full");
    log_command->add_option("--from", log_options.from, "first position")
        ->check(CLI::NonNegativeNumber)
        ->capture_default_str();
    log_command->add_option("--to", log_options.to, "last position")->check(CLI::NonNegativeNumber);
    log_command->add_option("--last", log_options.last, "only the last N records")->check(CLI::NonNegativeNumber);
    log_command->add_option("--since", log_options.since, "from this time: 2026-11-25 14:03, 14:03:07, or +1:30");
    log_command->add_option("--until", log_options.until, "up to this time");
    log_command->add_option("--source", log_options.sources, "written by this source or principal; repeatable");
    log_command->add_option("--region", log_options.regions, "commits that write this region; repeatable");
    log_command->add_option("--activation", log_options.activations, "of this activation; repeatable");
    log_command->add_option("--kind", log_options.kinds, "of this kind: commit, claimed, ...; repeatable");
    log_command->add_option("--outcome", log_options.outcomes,
                            "with this outcome: ok, failed, timeout, ..., refused; repeatable");
    log_command->add_option("--text", log_options.text, "commits with this text or number in what they write");
    log_command->add_flag("--follow", log_options.follow, "go on with what is written from now on");
    add_common(*log_command, log_options.common, true);
    add_example(*log_command,
                "stele log --board repo_review --last 20\n  stele log --source critic --outcome refused --long\n"
                "  stele log --text \"12.4 %\" --since 14:00");
    log_command->callback([&] { code = command_log(log_options); });

    ShowOptions show_options;
    CLI::App* show_command = app.add_subcommand("show", "show a board, a region or an entry, now or as it was");
    show_command->add_option("entry", show_options.entry, "REGION/NUMBER");
    show_command->add_option("--region", show_options.region, "only this region, with its entries");
    show_command->add_option("--without", show_options.without,
                             "as if this entry, REGION/NUMBER, had never been: without all that rests on it");
    show_command->add_option("--at", show_options.at, "as of this version")->check(CLI::NonNegativeNumber);
    add_common(*show_command, show_options.common, true);
    add_example(*show_command, "stele show --region conclusions\n  stele show evidence/12 --at 40");
    show_command->callback([&] { code = command_show(show_options); });

    TreeOptions why_options;
    CLI::App* why_command = app.add_subcommand("why", "where an entry comes from: the tree back to the inputs");
    add_tree(*why_command, why_options);
    why_command->add_option("--at", why_options.at, "the entry as of this version")->check(CLI::NonNegativeNumber);
    add_example(*why_command, "stele why conclusions/1\n  stele why conclusions/1 --graph svg > why.svg");
    why_command->callback([&] { code = command_why(why_options); });

    TreeOptions impact_options;
    CLI::App* impact_command = app.add_subcommand("impact", "all that came of an entry");
    add_tree(*impact_command, impact_options);
    add_example(*impact_command, "stele impact evidence/12");
    impact_command->callback([&] { code = command_impact(impact_options); });

    WhyNotOptions why_not_options;
    CLI::App* why_not_command = app.add_subcommand("why-not", "why a source does not wake, and what would wake it");
    why_not_command->add_option("source", why_not_options.source, "name of a source of the crew")->required();
    why_not_command->add_option("--at", why_not_options.at, "as of this version")->check(CLI::NonNegativeNumber);
    add_common(*why_not_command, why_not_options.common, true);
    add_example(*why_not_command, "stele why-not critic\n  stele why-not critic --at 40");
    why_not_command->callback([&] { code = command_why_not(why_not_options); });

    BlameOptions blame_options;
    CLI::App* blame_command = app.add_subcommand("blame", "who first wrote a text or number, and how it travelled");
    blame_command->add_option("text", blame_options.text, "words or a number, in any spelling")->required();
    blame_command->add_option("--limit", blame_options.limit, "at most so many writes; 0: all")->capture_default_str();
    add_common(*blame_command, blame_options.common, true);
    add_example(*blame_command, "stele blame \"12.4 %\"\n  stele blame \"churn rose\" --limit 0");
    blame_command->callback([&] { code = command_blame(blame_options); });

    DiffOptions diff_options;
    CLI::App* diff_command = app.add_subcommand("diff", "what changed on a board from one version to another");
    diff_command->add_option("from", diff_options.from, "the older version")->required()->check(CLI::NonNegativeNumber);
    diff_command->add_option("to", diff_options.to, "the newer one; without it, now")->check(CLI::NonNegativeNumber);
    diff_command->add_option("--region", diff_options.region, "only this region");
    add_common(*diff_command, diff_options.common, true);
    add_example(*diff_command, "stele diff 40 52\n  stele diff 40 --region conclusions");
    diff_command->callback([&] { code = command_diff(diff_options); });

    ExportOptions export_options;
    export_options.version = STELE_VERSION;
    CLI::App* export_command =
        app.add_subcommand("export", "a board's runs for other tools, or whole, for another data directory");
    export_command
        ->add_option(
            "--format", export_options.format,
            "jsonl (the whole log, for stele import and for programs); trace (trace events, for "
            "ui.perfetto.dev or chrome://tracing); otlp (OTLP/JSON spans); dot, mermaid or svg (who woke whom)")
        ->required();
    export_command->add_option("--output", export_options.output, "file to write; without it standard output");
    add_common(*export_command, export_options.common, true);
    add_example(*export_command,
                "stele export --format jsonl --output board.jsonl\n"
                "  stele export --format trace --output run.json\n"
                "  stele export --format otlp | curl -H 'Content-Type: application/json' \\\n"
                "      --data-binary @- http://localhost:4318/v1/traces");
    export_command->callback([&] { code = command_export(export_options); });

    ImportOptions import_options;
    CLI::App* import_command = app.add_subcommand("import", "take in a board that was exported as JSON lines");
    import_command
        ->add_option("file", import_options.file, "what stele export --format jsonl wrote; - for standard input")
        ->required();
    import_command->add_option("--name", import_options.name, "name of the board; without it as it was exported");
    add_common(*import_command, import_options.common, false);
    add_example(*import_command, "stele import board.jsonl --data other --name from_monday");
    import_command->callback([&] { code = command_import(import_options); });

    CommonOptions stats_options;
    CLI::App* stats_command = app.add_subcommand("stats", "what each source did and cost, and who writes which region");
    add_common(*stats_command, stats_options, true);
    add_example(*stats_command, "stele stats --board repo_review");
    stats_command->callback([&] { code = command_stats(stats_options); });

    CommonOptions boards_options;
    std::string boards_name;
    CLI::App* boards_command = app.add_subcommand("boards", "list the boards of a data directory, or remove one");
    add_common(*boards_command, boards_options, false);
    CLI::App* rm_command = boards_command->add_subcommand("rm", "remove a board and its log for good");
    rm_command->add_option("board", boards_name, "board to remove")->required();
    add_common(*rm_command, boards_options, false);
    add_example(*boards_command, "stele boards\n  stele boards rm repo_review-2");
    add_example(*rm_command, "stele boards rm repo_review-2");
    boards_command->callback([&] {
        if (boards_command->get_subcommands().empty()) code = command_boards(boards_options);
    });
    rm_command->callback([&] { code = command_boards_rm(boards_options, boards_name); });

    RetractOptions retract_options;
    CLI::App* retract_command = app.add_subcommand("retract", "take an entry back; it stays in the log");
    retract_command->add_option("entry", retract_options.entry, "REGION/NUMBER")->required();
    retract_command->add_option("--reason", retract_options.reason, "why, for the log");
    add_common(*retract_command, retract_options.common, true);
    add_example(*retract_command, "stele retract evidence/12 --reason \"the survey was withdrawn\"");
    retract_command->callback([&] { code = command_retract(retract_options); });

    ForkOptions fork_options;
    CLI::App* fork_command =
        app.add_subcommand("fork", "go on from a version of a board as a new one, which shares all that came before");
    fork_command->add_option("parent", fork_options.parent, "board to fork; without it the newest");
    fork_command->add_option("--at", fork_options.at, "version to go on from; without it the newest")
        ->check(CLI::NonNegativeNumber);
    fork_command->add_option("--name", fork_options.name, "name of the new board; without it PARENT-fork");
    fork_command->add_option("--crew", fork_options.crew_file, "go on with this crew instead of the logged one");
    fork_command->add_option("--input", fork_options.inputs, "NAME=VALUE, with --crew");
    fork_command->add_option("--set", fork_options.settings,
                             "SOURCE.FIELD=VALUE, or a path from the top of the crew; repeatable");
    fork_command->add_flag("--no-run", fork_options.only_make, "only make it; stele resume goes on with it");
    fork_command->add_flag("--quiet", fork_options.quiet, "print only the last lines");
    add_common(*fork_command, fork_options.common, true);
    add_example(*fork_command,
                "stele fork repo_review --at 40 --set critic.priority=5\n"
                "  stele fork repo_review --at 40 --crew other.yaml --name with_other_crew");
    fork_command->callback([&] { code = command_fork(fork_options); });

    PurgeOptions purge_options;
    CLI::App* purge_command = app.add_subcommand(
        "purge", "take content out of the log, the state, the index and the files for good; the chain still verifies");
    purge_command->add_option("entry", purge_options.entries, "REGION/NUMBER; several are purged together");
    purge_command->add_option("--text", purge_options.texts,
                              "every payload with this text in it, whatever entry it is of; repeatable");
    purge_command->add_option("--reason", purge_options.reason, "why, for the log; must not say what is purged");
    purge_command->add_flag("--dry", purge_options.only_plan, "only tell what would go, and where it would stay");
    add_common(*purge_command, purge_options.common, true);
    add_example(
        *purge_command,
        "stele purge customers/12 --dry\n  stele purge customers/12 --text ann@example.org --reason \"her wish\"");
    purge_command->callback([&] { code = command_purge(purge_options); });

    WriteOptions write_options;
    CLI::App* write_command = app.add_subcommand("write", "make one write in a person's name");
    write_command->add_option("region", write_options.region, "region to write to")->required();
    write_command->add_option("entry", write_options.entry, "the entry, as JSON")->required();
    write_command->add_option("--op", write_options.op,
                              "insert, add, remove, put, replace or increment; without it, what makes an entry there");
    write_command->add_option("--entry", write_options.number, "replace: the number of the entry that is meant")
        ->check(CLI::PositiveNumber);
    write_command->add_option("--expect", write_options.expected_version, "refused unless this version is in force")
        ->check(CLI::PositiveNumber);
    write_command->add_option("--reason", write_options.reason, "why, for the log");
    add_common(*write_command, write_options.common, true);
    add_example(*write_command,
                "stele write questions '{\"text\":\"what drives churn?\"}' --reason \"asked by the board\"");
    write_command->callback([&] { code = command_write(write_options); });

    ControlCommand control;
    add_control(app, control, code);

    CommonOptions backup_options;
    std::string backup_target;
    CLI::App* backup_command = app.add_subcommand("backup", "copy a data directory, safe while it is written");
    backup_command->add_option("target", backup_target, "directory to make")->required();
    add_common(*backup_command, backup_options, false);
    add_example(*backup_command, "stele backup /backups/stele-monday");
    backup_command->callback([&] { code = command_backup(backup_options, backup_target); });

    ReplayOptions replay_options;
    CLI::App* replay_command =
        app.add_subcommand("replay", "run the scheduler again over a board's log; calls nothing");
    replay_command->add_flag("--verify", replay_options.verify, "compare every verdict, decision and state hash");
    replay_command->add_flag("--step", replay_options.step,
                             "record by record, forward and backward; commands come from standard input");
    replay_command->add_option("--with", replay_options.crew_file, "what would have woken under this crew");
    replay_command->add_option("--input", replay_options.inputs, "NAME=VALUE, with --with");
    replay_command->add_option("--set", replay_options.settings,
                               "what would have woken with SOURCE.FIELD=VALUE; repeatable");
    replay_command
        ->add_option("--at", replay_options.at, "--step: begin at this record; --with, --set: up to this record")
        ->check(CLI::NonNegativeNumber);
    replay_command->add_option("--limit", replay_options.limit, "differences shown; 0: all")->capture_default_str();
    add_common(*replay_command, replay_options.common, true);
    add_example(*replay_command,
                "stele replay --verify --board repo_review\n"
                "  stele replay --set critic.when.0.where.size.gt=3\n  stele replay --step --at 40");
    replay_command->callback([&] { code = command_replay(replay_options); });

    CommonOptions verify_options;
    bool repair = false;
    CLI::App* verify_command =
        app.add_subcommand("verify", "check a board's log, and all that was derived from it against it");
    verify_command->add_flag("--repair", repair, "make anew from the log what was derived and is not as it should be");
    add_common(*verify_command, verify_options, true);
    add_example(*verify_command, "stele verify --board repo_review\n  stele verify --repair");
    verify_command->callback([&] { code = command_verify(verify_options, repair); });

    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        const int shown = app.exit(error);
        return shown == 0 ? 0 : static_cast<int>(ExitCode::usage);
    }
    return static_cast<int>(code);
}

}  // namespace

int main(int argc, char** argv) {
    // A reader that closes our output, or a source that does not read its input, is no crash.
    std::signal(SIGPIPE, SIG_IGN);
    try {
        return run(argc, argv);
    } catch (const std::exception& error) {
        std::cerr << "stele: internal error: " << error.what() << std::endl;
        return static_cast<int>(ExitCode::failure);
    }
}
