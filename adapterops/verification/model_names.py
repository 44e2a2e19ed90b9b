"""Pairs of names of one weight, by the authors of a model and by diffusers, written out a second time: what `fuse` looks up elsewhere
is judged by this.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

TABLE = r"""
double_blocks_N_{img,txt}_attn_proj = transformer_blocks_N_attn_{to_out_0,to_add_out}
double_blocks_N_img_mlp_{0,2} = transformer_blocks_N_ff_{net_0_proj,net_2}
double_blocks_N_img_mlp_{0,2} = transformer_blocks_N_ff_{linear_in,linear_out}
double_blocks_N_img_mlp_{0,2} = double_blocks_N_img_mlp_{fc1,fc2}
double_blocks_N_img_mlp_{fc1,fc2} = transformer_blocks_N_ff_{net_0_proj,net_2}
double_blocks_N_txt_mlp_{0,2} = transformer_blocks_N_ff_context_{net_0_proj,net_2}
double_blocks_N_txt_mlp_{0,2} = transformer_blocks_N_ff_context_{linear_in,linear_out}
double_blocks_N_txt_mlp_{0,2} = double_blocks_N_txt_mlp_{fc1,fc2}
double_blocks_N_txt_mlp_{fc1,fc2} = transformer_blocks_N_ff_context_{net_0_proj,net_2}
double_blocks_N_{img,txt}_mod_lin = transformer_blocks_N_{norm1,norm1_context}_linear
double_blocks_N_{img,txt}_mod_linear = transformer_blocks_N_{norm1,norm1_context}_linear
double_blocks_N_{img,txt}_mod_lin = double_blocks_N_{img,txt}_mod_linear
double_blocks_N_img_attn_norm_{query,key}_norm = transformer_blocks_N_attn_norm_{q,k}
double_blocks_N_txt_attn_norm_{query,key}_norm = transformer_blocks_N_attn_norm_added_{q,k}
single_blocks_N_norm_{query,key}_norm = single_transformer_blocks_N_attn_norm_{q,k}
single_blocks_N_{linear2,modulation_lin} = single_transformer_blocks_N_{proj_out,norm_linear}
single_blocks_N_{linear1,linear2} = single_transformer_blocks_N_attn_{to_qkv_mlp_proj,to_out}
single_blocks_N_modulation_{linear,lin} = single_transformer_blocks_N_norm_{linear,linear}
single_blocks_N_modulation_lin = single_blocks_N_modulation_linear
single_blocks_N_{q_proj,k_proj,v_proj,attn_out} = single_transformer_blocks_N_attn_{to_q,to_k,to_v,to_out_0}
single_blocks_N_{mlp_in,mlp_out} = single_transformer_blocks_N_ff_{linear_in,linear_out}
{img_in,txt_in,final_layer_linear} = {x_embedder,context_embedder,proj_out}
{double_stream_modulation_img,double_stream_modulation_txt}_lin = {double_stream_modulation_img,double_stream_modulation_txt}_linear
single_stream_modulation_lin = single_stream_modulation_linear
double_blocks_N_{img_attn,txt_attn}_proj = blocks_N_attn_{a,b}_to_out
double_blocks_N_{img_attn,txt_attn}_qkv = blocks_N_attn_{a,b}_to_qkv
double_blocks_N_{img_mlp_0,img_mlp_2,txt_mlp_0,txt_mlp_2} = blocks_N_{ff_a_0,ff_a_2,ff_b_0,ff_b_2}
double_blocks_N_{img,txt}_mod_lin = blocks_N_{norm1_a,norm1_b}_linear
single_blocks_N_{linear1,linear2,modulation_lin} = single_blocks_N_{to_qkv_mlp,proj_out,norm_linear}
blocks_N_attn_{a,b}_to_out = transformer_blocks_N_attn_{to_out_0,to_add_out}
blocks_N_{ff_a,ff_b}_0 = transformer_blocks_N_{ff,ff_context}_net_0_proj
blocks_N_{ff_a,ff_b}_2 = transformer_blocks_N_{ff,ff_context}_net_2
transformer_blocks_N_{ff,ff_context}_linear1 = transformer_blocks_N_{ff,ff_context}_net_0_proj
transformer_blocks_N_{ff,ff_context}_linear2 = transformer_blocks_N_{ff,ff_context}_net_2
double_blocks_N_{img_mlp_0,img_mlp_2} = transformer_blocks_N_ff_{linear1,linear2}
double_blocks_N_{txt_mlp_0,txt_mlp_2} = transformer_blocks_N_ff_context_{linear1,linear2}
double_blocks_N_img_attn_proj = transformer_blocks_N_attn_to_out
blocks_N_attn_wo = transformer_blocks_N_attn_to_out
transformer_blocks_N_attn_to_out = transformer_blocks_N_attn_to_out_0
transformer_blocks_N_attn_attn_to_out_0 = transformer_blocks_N_attn_to_out_0
transformer_blocks_N_{img,txt}_ff_mlp_in = transformer_blocks_N_{img,txt}_mlp_net_0_proj
transformer_blocks_N_{img,txt}_ff_mlp_out = transformer_blocks_N_{img,txt}_mlp_net_2
transformer_blocks_N_{img,txt}_mod_linear = transformer_blocks_N_{img,txt}_mod_1
blocks_N_{norm1_a,norm1_b}_linear = transformer_blocks_N_{norm1,norm1_context}_linear
single_blocks_N_{proj_out,norm_linear} = single_transformer_blocks_N_{proj_out,norm_linear}
layers_N_self_attn_to_out = transformer_blocks_N_attn1_to_out_0
layers_N_cross_attn_{to_q,to_out} = transformer_blocks_N_attn2_{to_q,to_out_0}
layers_N_ff_ff_{0_proj,2} = transformer_blocks_N_ff_net_{0_proj,2}
to_{timestep,global,cond}_embed_0 = {timestep,global,cross_attention}_proj_0
to_{timestep,global,cond}_embed_2 = {timestep,global,cross_attention}_proj_2
project_{in,out} = proj_{in,out}
{time,vector,guidance}_in_in_layer = time_text_embed_{timestep,text,guidance}_embedder_linear_1
{time,vector,guidance}_in_out_layer = time_text_embed_{timestep,text,guidance}_embedder_linear_2
{time,guidance}_in_in_layer = time_guidance_embed_{timestep,guidance}_embedder_linear_1
{time,guidance}_in_out_layer = time_guidance_embed_{timestep,guidance}_embedder_linear_2
{time,guidance}_in_mlp_0 = time_text_embed_{timestep,guidance}_embedder_linear_1
{time,guidance}_in_mlp_2 = time_text_embed_{timestep,guidance}_embedder_linear_2
text_conditioner_REST = llm_adapter_REST
txt_in_t_embedder_mlp_{0,2} = context_embedder_time_text_embed_timestep_embedder_linear_{1,2}
txt_in_c_embedder_linear_{1,2} = context_embedder_time_text_embed_text_embedder_linear_{1,2}
txt_in_input_embedder = context_embedder_proj_in
individual_token_refiner_blocks_N_{self_attn_proj,mlp_fc1,mlp_fc2} = token_refiner_refiner_blocks_N_{attn_to_out_0,ff_net_0_proj,ff_net_2}
individual_token_refiner_blocks_N_adaLN_modulation_1 = token_refiner_refiner_blocks_N_norm_out_linear
joint_blocks_N_x_block_{attn_proj,attn2_proj} = transformer_blocks_N_{attn_to_out_0,attn2_to_out_0}
joint_blocks_N_x_block_{mlp_fc1,mlp_fc2} = transformer_blocks_N_ff_{net_0_proj,net_2}
joint_blocks_N_context_block_{mlp_fc1,mlp_fc2} = transformer_blocks_N_ff_context_{net_0_proj,net_2}
joint_blocks_N_x_block_adaLN_modulation_1 = transformer_blocks_N_norm1_linear
joint_blocks_N_context_block_attn_proj = transformer_blocks_N_attn_to_add_out
{t,y}_embedder_mlp_0 = time_text_embed_{timestep,text}_embedder_linear_1
{t,y}_embedder_mlp_2 = time_text_embed_{timestep,text}_embedder_linear_2
x_embedder_proj = pos_embed_proj
{layers,noise_refiner,context_refiner}_N_attention_out = {layers,noise_refiner,context_refiner}_N_attention_to_out_0
{layers,noise_refiner,context_refiner}_N_attention_out = {layers,noise_refiner,context_refiner}_N_attn_to_out_0
layers_N_attention_o = layers_N_attention_to_out_0
layers_N_self_attn_{q_proj,k_proj,v_proj,o_proj} = layers_N_self_attn_{to_q,to_k,to_v,to_out_0}
layers_N_cross_attn_{q_proj,k_proj,v_proj,o_proj} = layers_N_cross_attn_{to_q,to_k,to_v,to_out_0}
layers_N_self_attn_{q_norm,k_norm} = layers_N_self_attn_{norm_q,norm_k}
layers_N_cross_attn_{q_norm,k_norm} = layers_N_cross_attn_{norm_q,norm_k}
{proj_in_1,proj_out_1} = {proj_in_conv,proj_out_conv}
decoder_layers_N_mlp_{gate,up,down}_proj = layers_N_mlp_{gate,up,down}_proj
decoder_layers_N_{self_attn_norm,cross_attn_norm,mlp_norm} = layers_N_{self_attn_norm,cross_attn_norm,mlp_norm}
decoder_{scale_shift_table,condition_embedder,norm_out} = {scale_shift_table,condition_embedder,norm_out}
decoder_layers_N_scale_shift_table = layers_N_scale_shift_table
decoder_time_embed_{linear_1,linear_2,time_proj} = time_embed_{linear_1,linear_2,time_proj}
decoder_time_embed_r_{linear_1,linear_2,time_proj} = time_embed_r_{linear_1,linear_2,time_proj}
single_blocks_N_{linear1_q,linear1_k,linear1_v,linear1_mlp} = single_transformer_blocks_N_{attn_to_q,attn_to_k,attn_to_v,proj_mlp}
single_blocks_N_linear2_fc = single_transformer_blocks_N_proj_out
single_blocks_N_linear2 = single_blocks_N_linear2_fc
{time,time_r,guidance}_in_mlp_0 = time_guidance_embed_{timestep_embedder,timestep_embedder_r,guidance_embedder}_linear_1
{time,time_r,guidance}_in_mlp_2 = time_guidance_embed_{timestep_embedder,timestep_embedder_r,guidance_embedder}_linear_2
{time,time_r}_in_mlp_0 = time_embed_{timestep_embedder,timestep_embedder_r}_linear_1
{time,time_r}_in_mlp_2 = time_embed_{timestep_embedder,timestep_embedder_r}_linear_2
time_in_{in_layer,out_layer} = time_embed_timestep_embedder_{linear_1,linear_2}
byt5_in_{layernorm,fc1,fc2,fc3} = context_embedder_2_{norm,linear_1,linear_2,linear_3}
vision_in_proj_{0,1,3,4} = image_embedder_{norm_in,linear_1,linear_2,norm_out}
{cond_type_embedding,txt_norm} = {cond_type_embed,context_embedder_norm}
double_blocks_N_{img,txt}_mlp_down_proj = transformer_blocks_N_{ff,ff_context}_net_2
blocks_N_{img_qkv_proj,txt_kv_proj,attn_out} = blocks_N_attention_{img_qkv_proj,txt_kv_proj,to_out_0}
blocks_N_{qk_norm_query_norm,qk_norm_key_norm,k_norm} = blocks_N_attention_{norm_q,norm_k,norm_added_k}
{blocks_N_mlp_t_conv,x_embedder_proj} = {transformer_blocks_N_ff_conv_temp,patch_embedding}
blocks_N_attn_{q,k}_norm = transformer_blocks_N_attn1_norm_{q,k}
blocks_N_cross_attn_{q,k}_norm = transformer_blocks_N_attn2_norm_{q,k}
blocks_N_scale_shift_table = transformer_blocks_N_scale_shift_table
final_layer_scale_shift_table = scale_shift_table
face_adapter_fuser_blocks_N_{linear1_q,linear2,q_norm,k_norm} = face_adapter_N_{to_q,to_out,norm_q,norm_k}
{layers,noise_refiner,context_refiner}_N_adaLN_modulation_1 = {layers,noise_refiner,context_refiner}_N_norm1_linear
layers_N_feed_forward_w{1,2,3} = layers_N_feed_forward_linear_{1,2,3}
noise_refiner_N_feed_forward_w{1,2,3} = noise_refiner_N_feed_forward_linear_{1,2,3}
context_refiner_N_feed_forward_w{1,2,3} = context_refiner_N_feed_forward_linear_{1,2,3}
cap_embedder_1 = time_caption_embed_caption_embedder_1
t_embedder_mlp_{0,2} = time_caption_embed_timestep_embedder_linear_{1,2}
final_layer_{adaLN_modulation_1,linear} = norm_out_{linear_1,linear_2}
blocks_N_self_attn_{q,k,v,o,norm_q,norm_k} = blocks_N_attn1_{to_q,to_k,to_v,to_out_0,norm_q,norm_k}
blocks_N_cross_attn_{q,k,v,o,norm_q,norm_k} = blocks_N_attn2_{to_q,to_k,to_v,to_out_0,norm_q,norm_k}
blocks_N_cross_attn_{k_img,v_img,norm_k_img} = blocks_N_attn2_{add_k_proj,add_v_proj,norm_added_k}
blocks_N_{ffn_0,ffn_2,norm3,modulation} = blocks_N_{ffn_net_0_proj,ffn_net_2,norm2,scale_shift_table}
{text_embedding_0,text_embedding_2} = condition_embedder_text_embedder_{linear_1,linear_2}
{time_embedding_0,time_embedding_2} = condition_embedder_time_embedder_{linear_1,linear_2}
img_emb_proj_{0,1,3,4} = condition_embedder_image_embedder_{norm1,ff_net_0_proj,ff_net_2,norm2}
{time_projection_1,head_head,head_modulation} = {condition_embedder_time_proj,proj_out,scale_shift_table}
{patchify_proj,audio_patchify_proj,aggregate_embed} = {proj_in,audio_proj_in,text_proj_in}
{adaln_single,audio_adaln_single}_REST = {time_embed,audio_time_embed}_REST
{prompt_adaln_single,audio_prompt_adaln_single}_REST = {prompt_adaln,audio_prompt_adaln}_REST
av_ca_{video,audio}_scale_shift_adaln_single_REST = av_cross_attn_{video,audio}_scale_shift_REST
av_ca_{a2v,v2a}_gate_adaln_single_REST = av_cross_attn_{video_a2v,audio_v2a}_gate_REST
transformer_blocks_N_{attn1_q,attn1_k,attn2_q,attn2_k}_norm = transformer_blocks_N_{attn1_norm_q,attn1_norm_k,attn2_norm_q,attn2_norm_k}
transformer_blocks_N_audio_attn1_{q_norm,k_norm} = transformer_blocks_N_audio_attn1_{norm_q,norm_k}
transformer_blocks_N_audio_attn2_{q_norm,k_norm} = transformer_blocks_N_audio_attn2_{norm_q,norm_k}
transformer_blocks_N_audio_to_video_attn_{q_norm,k_norm} = transformer_blocks_N_audio_to_video_attn_{norm_q,norm_k}
transformer_blocks_N_video_to_audio_attn_{q_norm,k_norm} = transformer_blocks_N_video_to_audio_attn_{norm_q,norm_k}
scale_shift_table_a2v_ca_{video,audio} = {video,audio}_a2v_cross_attn_scale_shift_table
blocks_N_attn_{wq,wk,wv,wo,gate} = transformer_blocks_N_attn_{to_q,to_k,to_v,to_out_0,to_gate}
blocks_N_attn_{wq,wk,wv,wo} = blocks_N_attn_{to_q,to_k,to_v,to_out_0}
blocks_N_mlp_{gate,up,down} = transformer_blocks_N_ff_{gate,up,down}
blocks_N_{attn1_out_proj,attn2_q_proj,attn2_out_proj} = blocks_N_{attn1_to_out_0,attn2_to_q,attn2_to_out_0}
blocks_N_attn1_{q,k}_norm = blocks_N_attn1_norm_{q,k}
blocks_N_attn2_{q,k}_norm = blocks_N_attn2_norm_{q,k}
t_embedder_mlp_{0,2} = time_extra_emb_timestep_embedder_{linear_1,linear_2}
extra_embedder_{0,2} = time_extra_emb_extra_embedder_{linear_1,linear_2}
mlp_t5_{0,2} = text_embedder_{linear_1,linear_2}
pooler_{q,k,v,c}_proj = time_extra_emb_pooler_{q,k,v,c}_proj
blocks_N_{mlp_fc2,default_modulation_1} = blocks_N_{ff_net_2,norm1_linear}
txtfusion_{layerwise,refiner}_blocks_N_attn_REST = text_fusion_{layerwise,refiner}_blocks_N_attn_REST
txtfusion_layerwise_blocks_N_attn_{wq,wk,wv,wo,gate} = text_fusion_layerwise_blocks_N_attn_{to_q,to_k,to_v,to_out_0,to_gate}
txtfusion_refiner_blocks_N_attn_{wq,wk,wv,wo,gate} = text_fusion_refiner_blocks_N_attn_{to_q,to_k,to_v,to_out_0,to_gate}
txtfusion_layerwise_blocks_N_mlp_{gate,up,down} = text_fusion_layerwise_blocks_N_ff_{gate,up,down}
txtfusion_refiner_blocks_N_mlp_{gate,up,down} = text_fusion_refiner_blocks_N_ff_{gate,up,down}
{first,last_linear,tmlp_0,tmlp_2,tproj_1} = {img_in,final_layer_linear,time_embed_linear_1,time_embed_linear_2,time_mod_proj}
{txtmlp_1,txtmlp_3,txtfusion_projector} = {txt_in_linear_1,txt_in_linear_2,text_fusion_projector}
blocks_N_{attn_out_proj,mlp_fc2,adaln_proj_linear} = transformer_blocks_N_{attn_to_out_0,ff_net_2,adaln_proj_linear}
token_refiner_blocks_N_{attn_out_proj,mlp_fc2,adaln_proj_linear} = token_refiner_refiner_blocks_N_{attn_to_out_0,ff_net_2,adaln_proj_linear}
{video_patch_proj,audio_patch_proj,condition_proj} = {proj_in,audio_proj_in,context_embedder}
time_embedder_proj_{in,out} = time_embedder_linear_{1,2}
final_layer_{adaln_proj_linear,video_out,audio_out} = {norm_out_linear,proj_out,audio_proj_out}
blocks_N_self_attn_{q_proj,k_proj,v_proj,output_proj} = transformer_blocks_N_attn1_{to_q,to_k,to_v,to_out_0}
blocks_N_cross_attn_{q_proj,k_proj,v_proj,output_proj} = transformer_blocks_N_attn2_{to_q,to_k,to_v,to_out_0}
blocks_N_mlp_{layer1,layer2} = transformer_blocks_N_ff_{net_0_proj,net_2}
blocks_N_adaln_modulation_{self_attn,cross_attn,mlp}_1 = transformer_blocks_N_{norm1,norm2,norm3}_linear_1
blocks_N_adaln_modulation_{self_attn,cross_attn,mlp}_2 = transformer_blocks_N_{norm1,norm2,norm3}_linear_2
final_layer_adaln_modulation_{1,2} = norm_out_linear_{1,2}
t_embedder_1_linear_{1,2} = time_embed_t_embedder_linear_{1,2}
x_embedder_proj_1 = patch_embed_proj
distilled_guidance_layer_layers_N_{in_layer,out_layer} = distilled_guidance_layer_layers_N_{linear_1,linear_2}
txt_mode_blocks_N_{q_proj,k_proj,v_proj,attn_out} = txt_mode_blocks_N_attn_{to_q,to_k,to_v,to_out_0}
txt_mode_blocks_N_{mlp_in,mlp_out} = txt_mode_blocks_N_ff_{linear_in,linear_out}
content_mode_blocks_image_N_{q_proj,k_proj,v_proj,attn_out} = mode_blocks_image_N_attn_{to_q,to_k,to_v,to_out_0}
content_mode_blocks_image_N_{mlp_in,mlp_out} = mode_blocks_image_N_{ff_linear_in,ff_linear_out}
content_mode_blocks_image_cond_N_{q_proj,k_proj,v_proj} = mode_blocks_image_cond_N_attn_{to_q,to_k,to_v}
content_mode_blocks_image_cond_N_attn_out = mode_blocks_image_cond_N_attn_to_out_0
content_mode_blocks_image_cond_N_{mlp_in,mlp_out} = mode_blocks_image_cond_N_{ff_linear_in,ff_linear_out}
content_mode_blocks_image_N_norm_{query,key}_norm = mode_blocks_image_N_attn_norm_{q,k}
content_mode_blocks_image_cond_N_norm_{query,key}_norm = mode_blocks_image_cond_N_attn_norm_{q,k}
txt_mode_blocks_N_norm_{query,key}_norm = txt_mode_blocks_N_attn_norm_{q,k}
early_stream_modulations_{image,image_cond,txt}_lin = early_stream_modulations_{image,image_cond,txt}_linear
single_stream_modulations_{image,image_cond,txt}_lin = single_stream_modulations_{image,image_cond,txt}_linear
emb_in_{image,image_cond} = x_embedders_{image,image_cond}
{time,ref_time}_in_in_layer = {timestep,target_timestep}_embedder_linear_1
{time,ref_time}_in_out_layer = {timestep,target_timestep}_embedder_linear_2
final_layer_image_linear = proj_out
img_in_proj = x_embedder_proj
double_blocks_N_img_attn_{q_norm,k_norm} = transformer_blocks_N_attn_{norm_q,norm_k}
double_blocks_N_txt_attn_{q_norm,k_norm} = transformer_blocks_N_attn_{norm_added_q,norm_added_k}
single_blocks_N_{q_norm,k_norm} = single_transformer_blocks_N_attn_{norm_q,norm_k}
double_layers_N_mlpX_{c_fc1,c_fc2,c_proj} = joint_transformer_blocks_N_ff_{linear_1,linear_2,out_projection}
double_layers_N_mlpC_{c_fc1,c_fc2,c_proj} = joint_transformer_blocks_N_ff_context_{linear_1,linear_2,out_projection}
double_layers_N_{modX_1,modC_1} = joint_transformer_blocks_N_{norm1_linear,norm1_context_linear}
double_layers_N_attn_{w2q,w2k,w2v,w2o} = joint_transformer_blocks_N_attn_{to_q,to_k,to_v,to_out_0}
double_layers_N_attn_{w1q,w1k,w1v,w1o} = joint_transformer_blocks_N_attn_{add_q_proj,add_k_proj,add_v_proj,to_add_out}
single_layers_N_mlp_{c_fc1,c_fc2,c_proj} = single_transformer_blocks_N_ff_{linear_1,linear_2,out_projection}
single_layers_N_attn_{w1q,w1k,w1v,w1o} = single_transformer_blocks_N_attn_{to_q,to_k,to_v,to_out_0}
single_layers_N_modCX_1 = single_transformer_blocks_N_norm1_linear
t_embedder_mlp_{0,2} = time_step_proj_linear_{1,2}
{cond_seq_linear,final_linear,init_x_linear} = {context_embedder,proj_out,pos_embed_proj}
blocks_N_{mod_x,mod_y} = transformer_blocks_N_norm1{,_context}_linear
blocks_N_mod_y = transformer_blocks_N_norm1_context_linear_1
blocks_N_attn_{proj_x,proj_y,q_norm_x,k_norm_x} = transformer_blocks_N_attn1_{to_out_0,to_add_out,norm_q,norm_k}
blocks_N_attn_{q_norm_y,k_norm_y} = transformer_blocks_N_attn1_{norm_added_q,norm_added_k}
blocks_N_{mlp_x_w2,mlp_y_w2} = transformer_blocks_N_{ff_net_2,ff_context_net_2}
t5_y_embedder_{to_kv,to_q,to_out} = time_embed_pooler_{to_kv,to_q,to_out}
{t5_yproj,x_embedder_proj} = {time_embed_caption_proj,patch_embed_proj}
t_embedder_mlp_{0,2} = time_embed_timestep_embedder_linear_{1,2}
layers_N_attention_{q_norm,k_norm} = layers_N_attention_{norm_q,norm_k}
noise_refiner_N_attention_{q_norm,k_norm} = noise_refiner_N_attention_{norm_q,norm_k}
context_refiner_N_attention_{q_norm,k_norm} = context_refiner_N_attention_{norm_q,norm_k}
{final_layer_linear,final_layer_adaLN_modulation_1} = {all_final_layer_2-1_linear,all_final_layer_2-1_adaLN_modulation_1}
x_embedder = all_x_embedder_2-1
layers_N_attention_{q_norm,k_norm} = layers_N_attn_{norm_q,norm_k}
noise_refiner_N_attention_{q_norm,k_norm} = noise_refiner_N_attn_{norm_q,norm_k}
context_refiner_N_attention_{q_norm,k_norm} = context_refiner_N_attn_{norm_q,norm_k}
{layers,noise_refiner}_N_attention_norm1 = {layers,noise_refiner}_N_norm1_norm
{layers,noise_refiner,context_refiner}_N_attention_norm2 = {layers,noise_refiner,context_refiner}_N_norm2
context_refiner_N_attention_norm1 = context_refiner_N_norm1
cap_embedder_0 = time_caption_embed_caption_embedder_0
vace_blocks_N_{before_proj,after_proj} = vace_blocks_N_{proj_in,proj_out}
blocks_N_{attn_proj,cross_attn_q_linear,cross_attn_proj} = transformer_blocks_N_{attn1_to_out_0,attn2_to_q,attn2_to_out_0}
blocks_N_mlp_{inverted_conv,depth_conv,point_conv}_conv = transformer_blocks_N_ff_{conv_inverted,conv_depth,conv_point}
y_embedder_y_proj_{fc1,fc2} = caption_projection_{linear_1,linear_2}
{attention_y_norm,x_embedder_proj,t_block_1} = {caption_norm,pos_embed_proj,adaln_single_linear}
{t,csize,ar}_embedder_mlp_0 = adaln_single_emb_{timestep,resolution,aspect_ratio}_embedder_linear_1
{t,csize,ar}_embedder_mlp_2 = adaln_single_emb_{timestep,resolution,aspect_ratio}_embedder_linear_2
t_block_1 = time_embed_linear
t_embedder_mlp_{0,2} = time_embed_emb_timestep_embedder_linear_{1,2}
blocks_block(\d+)_blocks_0_block_attn_{to_q_0,to_q_1,to_k_0} = transformer_blocks_N_attn1_{to_q,norm_q,to_k}
blocks_block(\d+)_blocks_0_block_attn_{to_k_1,to_v_0,to_out_0} = transformer_blocks_N_attn1_{norm_k,to_v,to_out_0}
blocks_block(\d+)_blocks_1_block_attn_{to_q_0,to_q_1,to_k_0} = transformer_blocks_N_attn2_{to_q,norm_q,to_k}
blocks_block(\d+)_blocks_1_block_attn_{to_k_1,to_v_0,to_out_0} = transformer_blocks_N_attn2_{norm_k,to_v,to_out_0}
blocks_block(\d+)_blocks_{0,1,2}_adaLN_modulation_1 = transformer_blocks_N_{norm1,norm2,norm3}_linear_1
blocks_block(\d+)_blocks_{0,1,2}_adaLN_modulation_2 = transformer_blocks_N_{norm1,norm2,norm3}_linear_2
blocks_block(\d+)_blocks_2_block_{layer1,layer2} = transformer_blocks_N_ff_{net_0_proj,net_2}
final_layer_adaLN_modulation_2 = norm_out_linear_2
down_blocks_0_N_attention_attn_{to_q,to_k,to_v,out_proj} = down_blocks_0_N_attention_{to_q,to_k,to_v,to_out_0}
down_blocks_1_N_attention_attn_{to_q,to_k,to_v,out_proj} = down_blocks_1_N_attention_{to_q,to_k,to_v,to_out_0}
up_blocks_0_N_attention_attn_{to_q,to_k,to_v,out_proj} = up_blocks_0_N_attention_{to_q,to_k,to_v,to_out_0}
up_blocks_1_N_attention_attn_{to_q,to_k,to_v,out_proj} = up_blocks_1_N_attention_{to_q,to_k,to_v,to_out_0}
video_embeddings_connector_transformer_1d_blocks_N_{ff_net_0_proj,ff_net_2} = video_connector_transformer_blocks_N_{ff_net_0_proj,ff_net_2}
audio_embeddings_connector_transformer_1d_blocks_N_{ff_net_0_proj,ff_net_2} = audio_connector_transformer_blocks_N_{ff_net_0_proj,ff_net_2}
video_embeddings_connector_transformer_1d_blocks_N_attn1_{to_q,to_k,to_v} = video_connector_transformer_blocks_N_attn1_{to_q,to_k,to_v}
video_embeddings_connector_transformer_1d_blocks_N_attn1_to_out_0 = video_connector_transformer_blocks_N_attn1_to_out_0
video_embeddings_connector_transformer_1d_blocks_N_attn1_{q,k}_norm = video_connector_transformer_blocks_N_attn1_norm_{q,k}
audio_embeddings_connector_transformer_1d_blocks_N_attn1_{to_q,to_k,to_v} = audio_connector_transformer_blocks_N_attn1_{to_q,to_k,to_v}
audio_embeddings_connector_transformer_1d_blocks_N_attn1_to_out_0 = audio_connector_transformer_blocks_N_attn1_to_out_0
audio_embeddings_connector_transformer_1d_blocks_N_attn1_{q,k}_norm = audio_connector_transformer_blocks_N_attn1_norm_{q,k}
double_blocks_N_img_attn_{q,k,v} = transformer_blocks_N_attn_{to_q,to_k,to_v}
double_blocks_N_txt_attn_{q,k,v} = transformer_blocks_N_attn_{add_q_proj,add_k_proj,add_v_proj}
resblocks_N_{attn_out_proj,mlp_c_fc,mlp_c_proj} = encoder_layers_N_{self_attn_out_proj,mlp_fc1,mlp_fc2}
"""
"""N is the number of a block, REST any end; what is in braces goes with what is in the same place of the other braces."""

SIGNS = {"N": r"(\d+)", "REST": r"(\w+)"}


def pairs() -> Iterator[tuple[str, str]]:
    """Both names as expressions, with groups for what they have in common."""
    for line in TABLE.strip().splitlines():
        yield from zip(*(_expanded(side) for side in line.split(" = ")), strict=True)


def _expanded(side: str) -> list[str]:
    """
    >>> _expanded("blocks_N_{a,b}_c")
    ['blocks_(\\\\d+)_a_c', 'blocks_(\\\\d+)_b_c']
    """
    before, braced, after = re.fullmatch(r"(.*?)(?:\{(.*)\})?([^{}]*)", side).groups()  # type: ignore[union-attr]  # every side is one
    return [_signs(f"{before}{each}{after}") for each in (braced or "").split(",")]


def _signs(name: str) -> str:
    return re.sub(r"(?<![a-zA-Z])(?:N|REST)(?![a-zA-Z])", lambda found: SIGNS[found[0]], name)
