"""What is known to have gone wrong in other libraries, and the test here that would see it.

The numbers are those of the project's study of other libraries (section 5a), the words its groups of reported errors
(5b). A value lists tests, and behind ``not here:`` what this project does not have or does not hold yet.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
HERE = "traps"
MISSING = "not here: "

TRAPS: dict[int | str, str] = {
    # fully masked row
    1: "traps/test_masks.py::test_a_row_that_sees_nothing_is_zero_in_every_type"
    " parts/test_kernels.py::test_a_row_that_sees_nothing_gives_zeros_and_zero_gradients",
    # is_causal when there are fewer queries than keys
    2: "traps/test_masks.py::test_the_last_query_sees_every_key",
    # mask polarity
    3: "traps/test_masks.py::test_true_is_a_real_token_wherever_it_is_said",
    # masks of other types and shapes
    4: "parts/test_rows.py::test_what_does_not_fit_is_one_error",
    # left padding without position ids
    5: "models/test_transformer.py::test_a_padded_row_is_the_row_alone"
    " families/test_parity.py::test_rows_of_a_padded_batch_are_what_they_are_alone",
    # padding without a mask
    6: "traps/test_batches.py::test_padding_is_said_and_never_guessed_from_an_id",
    # right-padded batch in greedy decoding
    7: "generate/test_decode.py::test_a_batch_is_its_rows_one_by_one_whatever_the_padding_and_whoever_ends"
    " families/test_parity.py::test_greedy_words_are_the_same",
    # packing by position ids
    8: "traps/test_masks.py::test_packed_rows_are_apart_in_every_kernel"
    " families/test_rows.py::test_packed_beside_others",
    # going on with a cache and a mask of the new token alone
    9: "models/test_cached.py::test_rows_may_pause_while_others_go_on"
    " models/test_cached.py::test_what_a_cache_cannot_follow_is_refused",
    # dynamic NTK and LongRoPE hang on the batch
    10: "families/test_judgements.py::test_scalings_by_length_look_at_each_row_alone"
    " models/test_cached.py::test_a_short_row_beside_a_long_one_is_the_row_alone"
    " models/test_cached.py::test_frequencies_of_a_row_are_never_mixed",
    # rotary angles in low precision
    11: "parts/test_rotary.py::test_angles_are_computed_in_float32",
    # attention that is asked for and not delivered
    12: "inside/test_trace.py::test_inner_values_are_those_of_the_fused_operations"
    " inside/test_silence.py::test_nothing_is_silent",
    # hidden_states[-1]
    13: "traps/test_values.py::test_the_last_hidden_state_has_a_name_of_its_own",
    # tied weights on disk
    14: "checkpoints/test_reading.py::test_tied_tables_are_one_parameter"
    " checkpoints/test_wrong_weights.py::test_a_head_that_is_said_to_be_untied_and_is_not_there",
    # T5's untied head
    15: "families/test_judgements.py::test_a_stored_head_that_differs_wins_over_the_tie"
    " families/test_judgements_pairs.py::test_a_stored_head_that_differs_wins_over_the_tie"
    " not here: tables cannot be resized, so that no resize can lose a head",
    # Falcon's ALiBi twice
    16: "traps/test_folders.py::test_falcons_slopes_are_added_once"
    " traps/test_masks.py::test_a_form_is_the_same_in_the_written_out_kernel",
    # a config object shared by two models
    17: "traps/test_folders.py::test_models_of_one_description_are_strangers"
    " traps/test_folders.py::test_no_description_says_how_it_is_computed",
    # names that only their writer reads back
    18: "traps/test_folders.py::test_gamma_and_beta_are_read_and_weight_and_bias_are_written"
    " traps/test_folders.py::test_stored_frequencies_are_computed_instead"
    " not here: ESM itself is no family yet",
    # names on disk are not those of modules
    19: "families/test_parity.py::test_a_folder_saved_back_is_the_folder",
    # a missing tensor
    20: "checkpoints/test_wrong_weights.py::test_a_tensor_is_missing"
    " checkpoints/test_wrong_weights.py::test_a_tensor_is_one_too_many",
    # a misspelled key
    21: "checkpoints/test_wrong_folders.py::test_a_word_of_the_config"
    " core/test_config.py::test_a_wrong_file_is_one_line_with_the_path",
    # a key that nobody reads
    22: "families/test_mutations.py::test_no_key_is_missed_in_silence"
    " families/test_judgements_encoders.py::test_other_buckets_than_those_of_transformers_are_refused",
    # bfloat16 on a processor without it
    23: "checkpoints/test_reading.py::test_every_type_is_computed_in_float32_on_a_cpu"
    " core/test_machine.py::test_bfloat16_is_chosen_only_where_the_probe_finds_it",
    # T5 in float16
    24: "traps/test_folders.py::test_a_t5_of_halves_does_not_overflow"
    " not here: float32 islands, for whoever asks for float16 computation",
    # the cast order of RMSNorm
    25: "parts/test_norm.py::test_the_cast_order_is_that_of_transformers"
    " parts/test_norm.py::test_the_cast_order_matters",
    # the eps of LayerNorm
    26: "parts/test_norm.py::test_eps_matters_for_small_values"
    " families/test_mutations.py::test_no_key_is_missed_in_silence"
    " not here: eps is read from every file that says it, but a new description has a default",
    # kinds of GELU
    27: "parts/test_feed_forward.py::test_the_gelus_are_kept_apart"
    " parts/test_feed_forward.py::test_activations_are_those_of_transformers",
    # a collator with pad = end token
    28: "traps/test_batches.py::test_the_end_of_a_text_is_learned_where_padding_has_its_id",
    # the loss of a mixture's router
    29: "train/test_balance.py::test_the_training_loss_is_that_of_mixtral_with_its_router",
    # sampling that nobody asked for
    30: "generate/test_sampling.py::test_nothing_is_on_that_was_not_asked_for",
    # RoBERTa's positions from ids
    31: "families/test_judgements_encoders.py::test_positions_come_from_what_is_padding_and_not_from_ids"
    " families/test_rows.py::test_padded_and_shuffled",
    # no fused path for caps, sinks and windows
    32: "parts/test_kernels.py::test_kernels_equal_the_reference_or_say_why_not"
    " parts/test_kernels.py::test_a_soft_cap_is_computed_by_the_reference_only"
    " not here: a fused path for soft caps, which are computed by the written-out kernel",
    # a cache that changes tokens
    33: "models/test_cached.py::test_steps_equal_the_whole"
    " parts/test_experts.py::test_a_cache_is_refused_where_a_choice_hangs_on_the_whole_row"
    " not here: x-transformers' own options (shifted tokens, ALiBi that hangs on data)",
    # names that decide
    34: "traps/test_folders.py::test_a_name_decides_nothing",
    # sinusoids that are parameters and not in the file
    35: "parts/test_positions.py::test_sinusoids_are_computed_and_not_saved"
    " families/test_judgements_pairs.py::test_positions_that_files_hold_and_code_computes_are_left",
    "SDPA NaN": "traps/test_masks.py::test_a_row_that_sees_nothing_is_zero_in_every_type"
    " models/test_transformer.py::test_a_row_of_padding_alone_harms_nobody"
    " traps/test_masks.py::test_a_nan_at_padding_reaches_nobody",
    "causal alignment": "traps/test_masks.py::test_the_last_query_sees_every_key"
    " parts/test_mask.py::test_causality_is_said_in_positions_not_in_places",
    "polarity": "traps/test_masks.py::test_true_is_a_real_token_wherever_it_is_said",
    "window off by one": "families/test_judgements_decoders.py::test_a_window_counts_the_token_itself"
    " families/test_judgements_decoders.py::test_windows_of_every_length_are_those_of_transformers"
    " families/test_judgements_encoders.py::test_an_odd_window_is_the_even_one_below",
    "RoPE layout": "parts/test_rotary.py::test_neighbours_are_paired_as_in_gptj"
    " parts/test_rotary.py::test_the_pairings_are_permutations_of_each_other",
    "RoPE precision": "parts/test_rotary.py::test_angles_are_computed_in_float32",
    "YaRN factor": "parts/test_rotary.py::test_every_scaling_is_that_of_transformers"
    " families/test_parity.py::test_output_loss_and_gradients",
    "LongRoPE": "families/test_judgements_moe.py::test_phimoe_turns_long_rows_by_its_long_factors"
    " generate/test_decode.py::test_rows_that_outgrow_their_frequencies_are_computed_again",
    "T5 fp16": "traps/test_folders.py::test_a_t5_of_halves_does_not_overflow",
    "T5 unscaled": "traps/test_values.py::test_t5_scales_its_tied_head_and_no_score",
    "T5 tied scale": "traps/test_values.py::test_t5_scales_its_tied_head_and_no_score"
    " families/test_judgements_pairs.py::test_umt5_that_says_it_is_not_tied_has_scores_that_are_not_scaled",
    "relative bias with cache": "models/test_cached.py::test_steps_equal_the_whole",
    "tied weights": "checkpoints/test_reading.py::test_tied_tables_are_one_parameter"
    " models/test_initialise.py::test_what_is_tied_stays_tied",
    "tables after meta": "models/test_transformer.py::test_it_stays_a_plain_module"
    " checkpoints/test_reading.py::test_every_description_is_loaded_as_it_was_saved",
    "cache reorder": "models/test_cached.py::test_beams_carry_their_past_with_them"
    " families/test_rows.py::test_cropped_reordered_and_forked",
    "cache of cross-attention": "families/test_rows.py::test_pairs"
    " models/test_cached.py::test_the_source_is_read_by_the_first_step_only",
    "other caches": "not here: quantised, static and recurrent caches and assisted decoding",
    "embeddings resize": "not here: tables cannot be resized",
    "special tokens": "traps/test_folders.py::test_a_template_and_a_tokenizer_start_a_text_once"
    " tokenizers/test_older_judged.py::test_a_start_token_is_put_where_nothing_is_said"
    " tokenizers/test_older_judged.py::test_every_space_counts_for_llama_and_gemma"
    " data/test_tokens.py::test_special_tokens_that_the_tokenizer_adds_are_kept_and_not_doubled",
    "end-of-text pooling": "traps/test_batches.py::test_the_last_token_is_the_last_that_is_valid"
    " families/test_judgements_pairs.py::test_the_class_of_a_source_is_read_where_its_copy_in_the_target_ends"
    " not here: CLIP and its text tower",
    "ESM": "not here: no family yet, neither its dropped tokens nor its padding",
    "images": "not here: no model of images yet, so no positions of theirs to resize",
    "silent random parts": "checkpoints/test_wrong_weights.py::test_a_tensor_is_missing"
    " families/test_judgements.py::test_a_bert_without_a_pooler_is_one"
    " families/test_judgements_encoders.py::test_a_bare_model_without_a_pooler_is_one"
    " families/test_judgements_pairs.py::test_files_before_version_5_that_are_not_tied_share_the_table_of_both_sides",
    "cross-attention mask": "models/test_transformer.py::test_padding_of_the_source_changes_nothing",
    "rope base": "families/test_mutations.py::test_no_key_is_missed_in_silence",
    "LoRA merge": "not here: adapters are not read",
    "library vs reference": "traps/test_masks.py::test_hidden_keys_weigh_nothing_however_large_their_scores"
    " parts/test_kernels.py::test_patterns_sum_to_one_and_hide_exactly",
}


def said(value: str) -> tuple[list[str], str]:
    """The tests of an entry, and what is missing."""
    nodes, _, missing = value.partition(MISSING)
    return nodes.split(), missing


@cache
def names_in(file: str) -> frozenset[str]:
    """The names of a file's tests, from its syntax tree."""
    tree = ast.parse((TESTS / file).read_text("utf-8"))
    return frozenset(part.name for part in tree.body if isinstance(part, ast.FunctionDef) and part.name[:5] == "test_")


def test_every_number_has_an_entry():
    assert [trap for trap in TRAPS if isinstance(trap, int)] == list(range(1, 36))


@pytest.mark.parametrize("trap", TRAPS)
def test_what_covers_a_trap_is_there(trap: int | str):
    nodes, missing = said(TRAPS[trap])
    assert nodes or len(missing) > 10, "neither a test nor a reason"
    for node in nodes:
        file, _, name = node.partition("::")
        assert name in names_in(file), node


def test_every_test_of_this_folder_is_for_a_trap():
    covering = {node for value in TRAPS.values() for node in said(value)[0]}
    files = [path for path in (TESTS / HERE).glob("test_*.py") if path != Path(__file__)]
    here = {f"{HERE}/{path.name}::{name}" for path in files for name in names_in(f"{HERE}/{path.name}")}
    assert here and here <= covering
