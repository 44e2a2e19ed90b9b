"""Every block of code in docs/ runs, in a folder with a small base and two adapters that PEFT saved."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from adapterops.cli.commands import COMMANDS
from adapterops.cli.main import run

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(DOCS.glob("*.md"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("docs")
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    LlamaForCausalLM(LlamaConfig(vocab_size=96, **sizes)).bfloat16().save_pretrained(place / "base")
    for seed, name in enumerate(("style", "domain")):
        torch.manual_seed(seed)
        targets = ["q_proj", "v_proj", "down_proj"]
        base = LlamaForCausalLM.from_pretrained(place / "base", dtype=torch.float32)
        model = get_peft_model(base, LoraConfig(r=8, target_modules=targets, task_type="CAUSAL_LM"))
        for parameter_name, parameter in model.named_parameters():
            if "lora_B" in parameter_name:
                torch.nn.init.normal_(parameter, std=0.02)
        model.save_pretrained(place / name)
        config = (place / name / "adapter_config.json").read_text()
        (place / name / "adapter_config.json").write_text(config.replace(str(place / "base"), "base"))
    return place


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
@pytest.mark.filterwarnings("ignore")
def test_every_block_runs(
    page: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    shutil.copytree(models, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    for language, code in re.findall(r"```(python|console)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        if language == "python":
            exec(code, {})
            continue
        for line in code.splitlines():
            command, _, comment = line.removeprefix("$ adapterops ").partition("  # exit code ")
            assert run(shlex.split(command)) == int(comment or 0), (line, capsys.readouterr())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (DOCS / target).exists(), target


def test_every_command_is_described_as_its_help_does(tmp_path: Path) -> None:
    """docs/commands.md is what `python docs/commands.py` prints."""
    code = (DOCS / "commands.py").read_text(encoding="utf-8")
    described: dict[str, object] = {"__name__": "commands"}
    exec(code, described)
    assert (DOCS / "commands.md").read_text(encoding="utf-8") == described["commands"]()  # type: ignore[operator]  # a function
    assert all(f"## {command}" in (DOCS / "commands.md").read_text(encoding="utf-8") for command in COMMANDS)


EXAMPLES = {
    "pipeline": ["base", "style", "domain", "out"],
    "style_and_domain": ["style", "domain", "out"],
    "rank_bracketing": ["style", "out"],
}


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_run(example: str, models: Path, tmp_path: Path) -> None:
    shutil.copytree(models, tmp_path / "work")
    script = DOCS.parent / f"examples/{example}.py"
    command = [sys.executable, str(script), *EXAMPLES[example]]
    done = subprocess.run(command, cwd=tmp_path / "work", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {"pipeline": '"verified": true', "style_and_domain": "cosine", "rank_bracketing": "enough for"}[
        example
    ] in done.stdout
