"""DeepSeek-V2 and V3, and GLM-4.5: groups, biases of a choice, dense layers in front, factors of YaRN."""

from __future__ import annotations

from tests.families.forms import LABELS, Family, Form
from tests.families.forms.mistral import SIZES

LATENT = {
    "num_key_value_heads": 4,
    "q_lora_rank": 12,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 10,
}
MIXTURE = {
    "num_hidden_layers": 3,
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "n_shared_experts": 2,
    "moe_intermediate_size": 16,
    "first_k_dense_replace": 1,
}
GROUPS = {"n_group": 4, "topk_group": 2}
LIMITED = {**GROUPS, "topk_method": "group_limited_greedy", "routed_scaling_factor": 2.0}
FAMILIES = {
    "deepseek_v2": Family("decoder", {**SIZES, **LATENT, **MIXTURE}),
    "deepseek_v3": Family("decoder", {**SIZES, **LATENT, **MIXTURE, **GROUPS}),
    "glm4_moe": Family("decoder", {**SIZES, **MIXTURE, "head_dim": 12}),
}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 8.0, "original_max_position_embeddings": 8}
#: Of routers that have no groups, of layers that do not exist here, and of files that no number hangs on.
UNSAID = ("n_group", "topk_group", "num_nextn_predict_layers", "num_mtp_layers", "pretraining_tp")
FORMS = (
    Form("deepseek-v2", "DeepseekV2ForCausalLM", LIMITED, other_words=UNSAID[2:]),
    Form("deepseek-v2-greedy", "DeepseekV2ForCausalLM", {"topk_method": "greedy"}, other_words=UNSAID),
    Form(
        "deepseek-v2-lite",
        "DeepseekV2ForCausalLM",
        {"q_lora_rank": None, "first_k_dense_replace": 2, "attention_bias": True, "mlp_bias": True},
        other_words=UNSAID,
    ),
    Form(
        "deepseek-v2-yarn",
        "DeepseekV2ForCausalLM",
        {"rope_parameters": {**YARN, "mscale": 0.7, "mscale_all_dim": 0.7}, "rms_norm_eps": 1e-2},
        other_words=UNSAID,
    ),
    Form("deepseek-v2-hidden", "DeepseekV2Model", other_words=UNSAID),
    Form("deepseek-v2-classify", "DeepseekV2ForSequenceClassification", LABELS, other_words=UNSAID),
    Form("deepseek-v3", "DeepseekV3ForCausalLM"),
    Form(
        "deepseek-v3-halves",
        "DeepseekV3ForCausalLM",
        {"rope_interleave": False, "norm_topk_prob": False, "q_lora_rank": None, "first_k_dense_replace": 0},
        other_words=("intermediate_size",),
    ),
    Form(
        "deepseek-v3-yarn",
        "DeepseekV3ForCausalLM",
        {
            "rope_parameters": {**YARN, "mscale": 1.0, "mscale_all_dim": 0.5},
            "n_group": 1,
            "topk_group": 1,
            "attention_bias": True,
            "routed_scaling_factor": 1.0,
        },
    ),
    Form("deepseek-v3-hidden", "DeepseekV3Model"),
    Form("deepseek-v3-classify", "DeepseekV3ForSequenceClassification", LABELS),
    Form("deepseek-v3-tag", "DeepseekV3ForTokenClassification", LABELS),
    Form("glm4-moe", "Glm4MoeForCausalLM"),
    Form(
        "glm4-moe-groups",
        "Glm4MoeForCausalLM",
        {**GROUPS, "use_qk_norm": True, "attention_bias": True, "norm_topk_prob": False, "routed_scaling_factor": 1.7},
    ),
    Form("glm4-moe-all", "Glm4MoeForCausalLM", {"partial_rotary_factor": 1.0, "tie_word_embeddings": True}),
    Form("glm4-moe-hidden", "Glm4MoeModel"),
)
