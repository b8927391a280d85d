"""A rollout as a person sees it: everything that matters within 80 columns, and one line a change in a log."""

from __future__ import annotations

from made_rollouts import shown

from deployer.cli.views.rollout import rollout_text, summary_line


def test_the_view_fits_and_shows_who_serves_what() -> None:
    text = rollout_text(shown())
    assert max(map(len, text.splitlines())) <= 80
    assert "✓ shift 5 %  ▶ judge 5 %" in text
    assert "this share is observed for 12 s more" in text
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.startswith(("replica", "gateway"))}
    assert rows["replica-0"] == ["stable", "canary"]
    assert rows["replica-1"] == ["stable", "loading"]
    assert rows["replica-2"] == ["has", "ended", "-"]
    assert rows["gateway-0"] == ["canary", "█", "5", "%", "stable", "█" * 19, "95", "%"]


def test_a_log_gets_one_line_a_change() -> None:
    assert summary_line(shown()) == "scale: version 1 → 2: Progressing; step 7 of 14, judge 5 % (p99<1.5*stable pass)"
